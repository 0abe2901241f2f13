"""MoCo v2: model and views; configs/mocov2/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/mocov2.py']

model = dict(
    type='MomentumPretrainer',
    momentum=0.999,
    shuffle_bn=True,
    heads=dict(
        image=dict(
            projector=dict(type='MLP', channels=(2048, 2048, 128)),
            objective=dict(type='InfoNCE', temperature=0.2, queue=65536, dim=128),
        )
    ),
)
