"""Exemplar: model and views; configs/exemplar/README.md has the source of each number."""

_base_ = ['../models/resnet50.py']

seeds = 8000  # number of photos; each is a class
model = dict(
    type='SharedPretrainer',
    heads=dict(
        exemplar=dict(
            target=dict(type='Known', of='image', classes=seeds),
            projector=dict(type='MLP', channels=(2048, seeds)),
            objective='CodeCrossEntropy',
            pairs=((0, 0),),
        )
    ),
)
view = dict(
    size=224,
    scale=None,  # the whole photo, then warped
    flip=0.0,
    warp=dict(rotation=(-20, 20), translate=(0.2, 0.2), scale=(0.7, 1.4)),
    photometric=dict(brightness=0.4, contrast=0.5, saturation=0.7, hue=0.1, jitter_prob=1.0),
)
views = [view]
