"""DINOv3 with a ViT-L/16, 2 x 224 + 8 x 96 crops, 125,000 steps of ImageNet: README beside this file."""

_base_ = [
    '../_base_/methods/dinov3.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_125k_dinov2.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=64, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
train_cfg = dict(type='PretrainLoop', max_epochs=200)  # of 625 steps
default_hooks = dict(clip=dict(type='ClipModulesHook', max_norm=3.0))
