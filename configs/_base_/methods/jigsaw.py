"""Jigsaw: model and views; configs/jigsaw/README.md has the source of each number."""

_base_ = ['../models/resnet50.py']

model = dict(
    type='SharedPretrainer',
    join_views=True,  # all tiles in one pass
    heads=dict(
        jigsaw=dict(
            target=dict(type='Known'),
            units=dict(type='PatchSet', patches=9),
            projector=dict(
                type='PatchProjector',
                patches=9,
                each=dict(type='MLP', channels=(2048, 1000), last_norm=True),
                relu=True,
                together=dict(type='MLP', channels=(9000, 2000)),
            ),
            objective='CodeCrossEntropy',
            pairs=((0, 0),),
        )
    ),
)
puzzle = dict(
    type='JigsawPatches',
    grid=3,
    resize=255,
    cell=85,
    patch=64,
    scale=(0.6, 1.0),
    flip=0.5,
    photometric=dict(gray_prob=0.66),
    channel_shift=2,
    permutations=2000,
)
views = [puzzle]
