"""A slim Mask R-CNN on the bundled sample, for two CPU cores: about four minutes."""

_base_ = [
    'mmdet::_base_/default_runtime.py',
    '../_base_/models/mask-rcnn_r18_fpn_slim.py',
    '../_base_/datasets/sample_detection.py',
    '../_base_/schedules/finetune_slim.py',
]

max_iters = 400
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min=0, by_epoch=False, begin=30, end=max_iters),
]
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(by_epoch=False, interval=max_iters),
)
log_processor = dict(by_epoch=False, window_size=20)
