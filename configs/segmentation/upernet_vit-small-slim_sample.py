"""A slim UPerNet on a slim ViT and the bundled sample: shows the way of a ViT export on two CPU cores.

python tools/train.py configs/segmentation/upernet_vit-small-slim_sample.py --pretrained CHECKPOINT
"""

_base_ = [
    'mmseg::_base_/default_runtime.py',
    '../_base_/models/upernet_vit-small_slim.py',
    '../_base_/datasets/sample_segmentation.py',
    '../_base_/schedules/finetune_slim.py',
]

model = dict(data_preprocessor=dict(size=_base_.crop_size), decode_head=dict(num_classes=13))
max_iters = 200
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min=0, by_epoch=False, begin=20),
]
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=max_iters),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)
log_processor = dict(window_size=20)
