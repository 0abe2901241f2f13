"""iBOT: model and views; configs/ibot/README.md has the source of each number."""

_base_ = ['../models/vit-small.py', '../views/dino.py']

crops, large = 12, 2  # 2 of 224 px, 10 of 96
image_pairs = [
    dict(query=('image', q), key=('image', k), weight=1 / (large * (crops - 1)), name='image')
    for q in range(crops)
    for k in range(large)
    if q != k
]
patch_pairs = [
    dict(query=('patches', v), key=('patches', v), weight=1 / large, name='patches') for v in range(large)
]
temperature = dict(start=0.04, end=0.07, shape='linear', duration=30, unit='epoch', by_epoch=True)
model = dict(
    type='MomentumPretrainer',
    join_views=True,
    momentum=dict(start=0.996, end=1.0),
    backbone=dict(hidden='token'),
    heads=dict(
        tokens=dict(
            units=dict(type='TokenPrototypes', freeze=1),
            projector=dict(
                type='PrototypeProjector',
                channels=(384, 2048, 2048, 256),
                activation='GELU',
                init='trunc_normal',
                prototypes=8192,
                weight_norm=True,
                learn_length=True,
            ),
            objective=dict(
                image=dict(
                    type='SelfDistillation',
                    prototypes=8192,
                    student_temperature=0.1,
                    teacher_temperature=temperature,
                    center_momentum=0.9,
                ),
                patches=dict(
                    type='SelfDistillation',
                    prototypes=8192,
                    student_temperature=0.1,
                    teacher_temperature=temperature,
                    center_momentum=0.9,
                    mean='images',
                    centered_over='all',
                ),
            ),
            pairs=image_pairs + patch_pairs,
        )
    ),
)
mask = dict(
    type='BlockMask',
    patch=16,
    ratio=dict(type='RatioChoice', ratios=(0.0, 0.3), spreads=(0.0, 0.2)),
)
views = [
    {**_base_.views[0], 'scale': (0.25, 1.0), 'mask': mask},
    {**_base_.views[1], 'scale': (0.25, 1.0), 'mask': mask},
    {**_base_.views[2], 'scale': (0.05, 0.25), 'count': crops - large},
]
