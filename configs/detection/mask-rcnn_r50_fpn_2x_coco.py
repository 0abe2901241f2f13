"""Mask R-CNN R50-FPN on COCO, 2x: as 1x, with 180k iterations."""

_base_ = './mask-rcnn_r50_fpn_1x_coco.py'

train_cfg = dict(max_iters=180_000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, milestones=[120_000, 160_000], gamma=0.1),
]
