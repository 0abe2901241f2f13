"""Barlow Twins: model and views; configs/barlow_twins/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/byol.py']

sync_bn = 'torch'
model = dict(
    type='SharedPretrainer',
    backbone=dict(zero_init_residual=True),
    heads=dict(
        image=dict(
            projector=dict(type='MLP', channels=(2048, 8192, 8192, 8192), norm=True, bias=False),
            objective=dict(type='BarlowTwins', redundancy_weight=0.0051),
        )
    ),
)
