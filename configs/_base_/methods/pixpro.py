"""PixPro: model and views; configs/pixpro/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/byol.py']

sync_bn = 'torch'
views = [dict(view, interpolation='bilinear') for view in _base_.views]
model = dict(
    type='MomentumPretrainer',
    momentum=dict(start=0.99, end=1.0),
    backbone=dict(zero_init_residual=True),
    heads=dict(
        pixel=dict(
            units=dict(type='Cells'),
            projector=dict(type='ConvMLP', channels=(2048, 4096, 256), norm=True, bias=True),
            predictor=dict(type='PixelPropagation', channels=256, power=2, layers=1),
            matching=dict(type='ByLocation', threshold=0.7),
            objective=dict(type='Cosine', mean='images'),
            pairs=((0, 1), (1, 0)),
            loss_weight=4.0,  # the official loss sums -2 cos over the directions; a head averages them
        )
    ),
)
