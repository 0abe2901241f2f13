"""SCRL: model and views; configs/scrl/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/byol.py']

sync_bn = 'torch'
model = dict(
    type='MomentumPretrainer',
    momentum=dict(start=0.97, end=1.0),
    join_views=True,
    heads=dict(
        regions=dict(
            units=dict(type='Boxes', regions='overlap', bins=1, aligned=False),
            projector=dict(type='MLP', channels=(2048, 4096, 256), norm=True, bias=(True, False)),
            predictor=dict(type='MLP', channels=(256, 4096, 256), norm=True, bias=(True, False)),
            objective=dict(type='Cosine', squared=True, mean='counted'),
            pairs=((0, 1), (1, 0)),
            loss_weight=2.0,  # SCRL sums the two directions; a head averages them
        )
    ),
)
views = [{**v, 'scale': (0.2, 1.0)} for v in _base_.views]
regions = dict(overlap=dict(type='OverlapBoxes', count=10, min_size=32, max_iou=0.5))
