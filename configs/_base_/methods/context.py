"""Context prediction: model and views; configs/context/README.md has the source of each number."""

_base_ = ['../models/resnet50.py']

pairs = 4
model = dict(
    type='SharedPretrainer',
    join_views=True,  # all patches in one pass
    heads=dict(
        context=dict(
            target=dict(type='Known'),
            units=dict(type='PatchSet', patches=2),
            projector=dict(
                type='PatchProjector',
                patches=2,
                together=dict(type='MLP', channels=(4096, 4096, 8), norm=True),
            ),
            objective='CodeCrossEntropy',
            pairs=[(i, i) for i in range(pairs)],
        )
    ),
)
patches = dict(
    type='ContextPairs',
    patch=96,
    gap=48,
    jitter=7,
    pixels=(150_000, 450_000),
    pairs=pairs,
    drop_colours=True,
    coarse=0.33,
)
views = [patches]
