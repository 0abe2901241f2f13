"""DetCo: model and views; configs/detco/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/detco.py']

model = dict(
    type='MomentumPretrainer',
    momentum=0.999,
    shuffle_bn=True,
    join_views=True,  # the nine patches of a puzzle in one pass
    backbone=dict(out_indices=(0, 1, 2, 3)),
    heads=dict(
        detco=dict(
            type='MultiLevelHead',
            levels=(0, 1, 2, 3),
            names=('c2', 'c3', 'c4', 'c5'),
            weights=(0.1, 0.4, 0.7, 1.0),
            terms=('global', 'local', 'local_to_global'),
            projector=dict(
                type='LevelProjectors',
                channels=(256, 512, 1024, 2048),
                out_channels=128,
                hidden=(256, 512, 1024, 2048),
                # As wide as their inputs, 9 * C: 456 million weights, nineteen times the backbone's. A
                # width of 2048 on all levels would save 84 % of them.
                local_hidden=(2304, 4608, 9216, 18432),
                patches=9,
            ),
            objective=dict(type='InfoNCE', temperature=0.2, queue=65536, dim=128),
        )
    ),
)
