"""SetSim: model and views; configs/setsim/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/mocov2.py']

model = dict(
    type='MomentumPretrainer',
    momentum=0.999,
    shuffle_bn=True,
    heads=dict(
        image=dict(
            projector=dict(type='MLP', channels=(2048, 2048, 128)),
            objective=dict(type='InfoNCE', temperature=0.2, queue=65536, dim=128),
            loss_weight=0.5,
        ),
        sets=dict(
            units='Cells',
            projector=dict(type='ConvMLP', channels=(2048, 2048, 128)),
            matching=dict(type='SetSimilarity', attention=0.7, similarity=0.2, location=0.5),
            objective=dict(type='InfoNCE', temperature=0.2, queue=65536, dim=128, mean='images'),
            loss_weight=0.5,
        ),
    ),
)
