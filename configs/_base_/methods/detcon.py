"""DetCon-B: model and views; configs/detcon/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/byol.py']

sync_bn = 'torch'
model = dict(
    type='MomentumPretrainer',
    momentum=dict(start=0.996, end=1.0),
    backbone=dict(zero_init_residual=True),
    heads=dict(
        masks=dict(
            units='Masks',
            projector=dict(type='MLP', channels=(2048, 4096, 256), norm=True, bias=(True, False)),
            predictor=dict(type='MLP', channels=(256, 4096, 256), norm=True, bias=(True, False)),
            matching=dict(type='SameId', share_repeats=True),
            objective=dict(type='InfoNCE', temperature=0.1, queue=0, batch='units+own'),
            pairs=((0, 1), (1, 0)),
            loss_weight=2.0,  # the official loss sums the two directions; a head averages them
        )
    ),
)
regions = dict(masks=dict(type='SelectMasks', count=16, grid=7))
