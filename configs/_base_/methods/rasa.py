"""RASA on a frozen DINOv2: model and views; configs/rasa/README.md has the source of each number."""

_base_ = ['../models/vit-small.py']

patch, rounds = 14, 9
model = dict(
    type='SharedPretrainer',
    batch_statistics='held',
    frozen_layers=13,  # all: the stem and twelve blocks
    backbone=dict(
        arch='vit_small_patch14_reg4_dinov2', num_heads=6, img_size=518, drop_path=0.0, output_cls_token=False
    ),
    heads=dict(
        position=dict(
            target=dict(type='Positions', patch=patch),
            units='Cells',
            projector=dict(type='PositionPredictor', channels=384, rounds=rounds),
            objective='Reconstruction',
            pairs=((0, 0),),
        )
    ),
)
photometric = dict(
    brightness=0.32,
    contrast=0.32,
    saturation=0.32,
    hue=0.08,
    jitter_prob=0.8,
    gray_prob=0.2,
    blur_prob=0.5,
    blur_sigma=(0.1, 2.0),
)
views = [
    dict(size=37 * patch, scale=(0.25, 1.0), flip=0.5, interpolation='bilinear', photometric=photometric)
]
