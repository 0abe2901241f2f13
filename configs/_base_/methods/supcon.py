"""SupCon: model and views; configs/supcon/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/supcon.py']

model = dict(
    type='SharedPretrainer',
    join_views=True,
    heads=dict(
        image=dict(
            projector=dict(type='MLP', channels=(2048, 2048, 128)),
            matching='SameLabel',
            objective=dict(type='InfoNCE', temperature=0.1, queue=0, batch='views', form='out'),
            pairs=((0, 1), (1, 0)),
            loss_weight=0.1 / 0.07,  # the official code's factor, t over its base temperature
        )
    ),
)
sync_bn = 'torch'
