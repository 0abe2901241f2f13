"""SoCo: model and views; configs/soco/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/byol.py']

sync_bn = 'torch'
model = dict(
    type='MomentumPretrainer',
    momentum=dict(start=0.99, end=1.0),
    backbone=dict(out_indices=(0, 1, 2, 3), zero_init_residual=True),
    neck=dict(
        type='mmdet.FPN',
        in_channels=[256, 512, 1024, 2048],
        out_channels=256,
        num_outs=4,  # a detector's fifth level is pooled from the fourth and has no weights
        norm_cfg=dict(type='BN', requires_grad=True),
    ),
    heads=dict(
        objects=dict(
            # every_level=True: the official code, four times the cost of the head
            units=dict(type='Boxes', levels=(0, 1, 2, 3), thresholds=(48, 96, 192, 224), bins=7),
            matching='SameId',
            projector=dict(type='BoxProjector', channels=(1024, 4096, 256), norm=True, bias=True),
            predictor=dict(type='MLP', channels=(256, 4096, 256), norm=True, bias=True),
            objective=dict(type='Cosine', mean='images'),
            pairs=((0, 1), (1, 0), (0, 2), (2, 0)),
            loss_weight=8.0,  # the official loss sums -2 cos over four pairs; a head averages them
        )
    ),
)
# Three views: the whole image, a crop, a small crop.
view1 = dict(_base_.view1, interpolation='bilinear', scale=None)
view2 = dict(_base_.view2, interpolation='bilinear', scale=(0.5, 1.0))
views = [view1, view2, dict(view2, size=112)]
objects = dict(
    type='SelectBoxes',
    count=4,
    jitter=0.1,
    jitter_prob=0.5,
    jitter_views=(0,),
    cutout=dict(views=(1, 2), prob=0.5, area=(0.1, 0.3)),
)
