"""SimSiam: model and views; configs/simsiam/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/mocov2.py']

sync_bn = 'torch'
model = dict(
    type='SharedPretrainer',
    backbone=dict(zero_init_residual=True),
    heads=dict(
        image=dict(
            projector=dict(
                type='MLP',
                channels=(2048, 2048, 2048, 2048),
                norm=True,
                last_norm='plain',
                bias=(False, False, True),  # the last bias has no effect: batch norm removes it
            ),
            predictor=dict(type='MLP', channels=(2048, 512, 2048), norm=True, bias=(False, True)),
            objective='Cosine',
            pairs=((0, 1), (1, 0)),
            stop_gradient=True,
        )
    ),
)
