"""BYOL: model and views; configs/byol/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/byol.py']

sync_bn = 'torch'
model = dict(
    type='MomentumPretrainer',
    momentum=dict(start=0.99, end=1.0),
    backbone=dict(zero_init_residual=True),
    heads=dict(
        image=dict(
            projector=dict(type='MLP', channels=(2048, 4096, 256), norm=True, bias=(True, False)),
            predictor=dict(type='MLP', channels=(256, 4096, 256), norm=True, bias=(True, False)),
            objective=dict(type='Cosine', squared=True),
            pairs=((0, 1), (1, 0)),
            loss_weight=2.0,  # BYOL sums the two directions; a head averages them
        )
    ),
)
