"""A slim Mask R-CNN on a slim ViT and the bundled sample: shows the way of a ViT export on a CPU.

python tools/train.py configs/detection/mask-rcnn_vit-small-slim_simple-pyramid_sample.py \
    --pretrained CHECKPOINT
"""

_base_ = [
    'mmdet::_base_/default_runtime.py',
    '../_base_/models/mask-rcnn_vit_simple-pyramid_slim.py',
    '../_base_/datasets/sample_detection.py',
    '../_base_/schedules/finetune_slim.py',
]

model = dict(
    backbone=dict(img_size=256, embed_dims=192, num_layers=4, num_heads=3),
    neck=dict(in_channels=192),
)

max_iters = 200
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min=0, by_epoch=False, begin=30),
]
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(by_epoch=False, interval=max_iters),
)
log_processor = dict(by_epoch=False, window_size=20)
