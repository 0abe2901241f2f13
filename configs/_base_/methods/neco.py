"""NeCo from DINOv2: model and views; configs/neco/README.md has the source of each number."""

_base_ = ['../models/vit-small.py']

patch, locals_ = 14, 4
model = dict(
    type='MomentumPretrainer',
    join_views=True,
    momentum=dict(start=0.9995, end=1.0),
    backbone=dict(
        arch='vit_small_patch14_reg4_dinov2', num_heads=6, img_size=518, drop_path=0.1, output_cls_token=False
    ),
    heads=dict(
        order=dict(
            units='Cells',
            matching=dict(type='SharedGrid', size=7, samples=2),
            projector=dict(
                type='ConvMLP',
                channels=(384, 2048, 2048, 256),
                activation='GELU',
                bias=True,
                init='trunc_normal',
            ),
            objective=dict(type='NeighbourOrder', count=49),
            pairs='crops',
        )
    ),
)
photometric = dict(
    brightness=0.8,
    contrast=0.8,
    saturation=0.8,
    hue=0.2,
    jitter_prob=0.8,
    gray_prob=0.2,
    blur_prob=0.5,
    blur_sigma=(0.1, 2.0),
)
crop = dict(size=37 * patch, scale=(0.25, 1.0), flip=0.0, interpolation='bilinear', photometric=photometric)
views = [dict(crop, count=2), dict(crop, count=locals_, size=7 * patch, scale=(0.05, 0.25))]
