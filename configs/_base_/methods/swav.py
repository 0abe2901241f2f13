"""SwAV: model and views; configs/swav/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/swav.py']

model = dict(
    type='SharedPretrainer',
    join_views=True,
    data_preprocessor=_base_.preprocessor,
    heads=dict(
        image=dict(
            units=dict(type='Prototypes', freeze=313, freeze_unit='step'),  # an epoch at 4,096 images a step
            projector=dict(
                type='PrototypeProjector',
                channels=(2048, 2048, 128),
                norm=True,
                bias=True,
                prototypes=3000,
            ),
            objective=dict(type='SwappedPrediction', temperature=0.1, epsilon=0.05, iterations=3),
            pairs='crops',
        )
    ),
)
sync_bn = 'torch'
