"""NPID: model and views; configs/npid/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/npid.py']

model = dict(
    type='SharedPretrainer',
    heads=dict(
        image=dict(
            projector=dict(type='MLP', channels=(2048, 128)),
            # One vector per image; DataSizeHook sets the number of images.
            objective=dict(type='NCE', dim=128, negatives=4096, temperature=0.07, momentum=0.5),
            pairs=((0, 0),),
        )
    ),
)
