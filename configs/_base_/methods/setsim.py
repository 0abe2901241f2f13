"""SetSim: model and views; configs/setsim/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/mocov2.py']

model = dict(
    type='MomentumPretrainer',
    momentum=0.999,
    shuffle_bn=True,
    heads=dict(
        image=dict(
            type='ImageHead',
            projector=dict(type='MLP', channels=(2048, 2048, 128)),
            objective=dict(type='InfoNCE', temperature=0.2, queue=65536, dim=128),
            loss_weight=0.5,
        ),
        sets=dict(
            type='PixelHead',
            projector=dict(type='ConvMLP', channels=(2048, 2048, 128)),
            matching=dict(type='SetSimilarity', attention=0.7, similarity=0.2, location=0.5),
            objective=dict(
                type='MultiPositive',
                temperature=0.2,
                queue=65536,
                dim=128,
                form='out',
                per_image=True,
            ),
            loss_weight=0.5,
        ),
    ),
)
