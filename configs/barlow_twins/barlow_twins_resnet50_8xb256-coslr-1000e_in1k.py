"""Barlow Twins, 1000 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_byol.py',
    '../_base_/schedules/lars_coslr_1000e_barlowtwins.py',
    '../_base_/pretrain_runtime.py',
]

sync_bn = 'torch'
model = dict(
    type='SharedPretrainer',
    backbone=dict(zero_init_residual=True),
    heads=dict(
        image=dict(
            type='ImageHead',
            projector=dict(type='MLP', channels=(2048, 8192, 8192, 8192), norm=True, bias=False),
            objective=dict(type='BarlowTwins', redundancy_weight=0.0051),
        )
    ),
)
train_dataloader = dict(batch_size=256)
