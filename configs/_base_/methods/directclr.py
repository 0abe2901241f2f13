"""DirectCLR: model and views; configs/directclr/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/byol.py']

model = dict(
    type='SharedPretrainer',
    backbone=dict(zero_init_residual=True),
    heads=dict(
        image=dict(
            projector=dict(type='FirstChannels', dimensions=360),
            objective=dict(type='InfoNCE', temperature=0.1, queue=0, batch='keys'),
            pairs=((0, 1), (1, 0)),
        )
    ),
)
sync_bn = 'torch'
