"""A slim FCN on the bundled sample, for two CPU cores: about two minutes."""

_base_ = [
    'mmseg::_base_/default_runtime.py',
    '../_base_/models/fcn_r18-d16_slim.py',
    '../_base_/datasets/sample_segmentation.py',
    '../_base_/schedules/finetune_slim.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(
        num_classes=13,
        # three quarters of the pixels are background: with cross-entropy alone, two minutes end in
        # nothing else. Lovasz-softmax stands for the mean IoU and counts every present class alike.
        loss_decode=[
            dict(type='CrossEntropyLoss', loss_name='loss_ce', loss_weight=1.0),
            dict(type='LovaszLoss', loss_name='loss_lovasz', loss_weight=1.0, reduction='none'),
        ],
    ),
)
max_iters = 200
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min=0, by_epoch=False, begin=20, end=max_iters),
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
