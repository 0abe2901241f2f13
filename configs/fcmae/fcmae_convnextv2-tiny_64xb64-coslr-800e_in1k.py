"""FCMAE with a ConvNeXt V2-T, 800 epochs of ImageNet, 4,096 images a step; sources in the README."""

_base_ = [
    '../_base_/methods/fcmae.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_800e_mae.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=64, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
