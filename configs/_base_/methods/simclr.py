"""SimCLR: model and views; configs/simclr/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/simclr.py']

model = dict(
    type='SharedPretrainer',
    join_views=True,
    data_preprocessor=_base_.preprocessor,
    backbone=dict(zero_init_residual=True),
    heads=dict(
        image=dict(
            projector=dict(
                type='MLP',
                channels=(2048, 2048, 2048, 128),
                norm=True,
                last_norm='scale',
                bias=False,
                init='normal',
            ),
            objective=dict(type='InfoNCE', temperature=0.1, queue=0, batch='views'),
            pairs=((0, 1), (1, 0)),
            loss_weight=2.0,  # the official code sums the two directions; a head averages them
        )
    ),
)
sync_bn = 'torch'
