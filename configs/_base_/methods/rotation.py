"""Rotation: model and views; configs/rotation/README.md has the source of each number."""

_base_ = ['../models/resnet50.py']

model = dict(
    type='SharedPretrainer',
    heads=dict(
        rotation=dict(
            target=dict(type='Known'),
            projector=dict(type='MLP', channels=(2048, 4)),
            objective='CodeCrossEntropy',
            pairs=((0, 0),),
        )
    ),
)
view = dict(type='RotatedView', size=224, scale=(0.08, 1.0), flip=0.5)
views = [view]
