"""MoCo v3: model and views; configs/mocov3/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/mocov3.py']

model = dict(
    type='MomentumPretrainer',
    momentum=dict(start=0.99, end=1.0),
    backbone=dict(zero_init_residual=True),
    heads=dict(
        image=dict(
            projector=dict(type='MLP', channels=(2048, 4096, 256), norm=True, last_norm='plain', bias=False),
            predictor=dict(type='MLP', channels=(256, 4096, 256), norm=True, bias=False),
            objective=dict(type='InfoNCE', temperature=1.0, queue=0, batch='keys'),
            pairs=((0, 1), (1, 0)),
            loss_weight=4.0,  # 4 t: the official sum of both directions, times 2 t
        )
    ),
)
sync_bn = 'torch'
