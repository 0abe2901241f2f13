"""DetCo: model and views; configs/detco/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/detco.py']

levels = dict(c2=0, c3=1, c4=2, c5=3)
weights = dict(c2=0.1, c3=0.4, c4=0.7, c5=1.0)
terms = [('global', 'global'), ('local', 'local'), ('local', 'global')]  # kinds of query and key
pairs = [
    dict(query=(f'{q}_{c}', 0), key=(f'{k}_{c}', 1), weight=weight, name=f'{q[0]}2{k[0]}_{c}')
    for c, weight in weights.items()
    for q, k in terms
]
model = dict(
    type='MomentumPretrainer',
    momentum=0.999,
    shuffle_bn=True,
    join_views=True,  # the nine patches of a puzzle in one pass
    backbone=dict(out_indices=(0, 1, 2, 3)),
    heads=dict(
        detco=dict(
            units=dict(type='Patches', images=2, patches=9, levels=levels),
            projector=dict(
                type='LevelProjectors',
                names=list(levels),
                channels=(256, 512, 1024, 2048),
                out_channels=128,
                hidden=(256, 512, 1024, 2048),
                # Hidden layers are as wide as their inputs, 9 * C. This gives 456 million weights, nineteen
                # times the backbone's. A width of 2048 on all levels would save 84 % of them.
                local_hidden=(2304, 4608, 9216, 18432),
                patches=9,
            ),
            objective=dict(type='InfoNCE', temperature=0.2, queue=65536, dim=128),  # one per kind of key
            pairs=pairs,
        )
    ),
)
