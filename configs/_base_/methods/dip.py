"""DIP from DINOv2, with any masks: model and views; configs/dip/README.md has the source of each number."""

_base_ = ['../models/vit-small.py']

patch, pixels = 14, 224
model = dict(
    type='SharedPretrainer',
    join_views=True,
    frozen_layers=10,  # the stem and nine blocks; the other three blocks and the last norm are trained
    backbone=dict(
        arch='vit_small_patch14_reg4_dinov2', num_heads=6, img_size=518, drop_path=0.0, output_cls_token=False
    ),
    heads=dict(
        segments=dict(
            units='LabelledCells',
            matching='SameSegment',
            projector=dict(
                type='ConvMLP', channels=(384, 2688, 6144), activation='GELU', bias=True, last_norm='layer'
            ),
            objective=dict(type='InContext', temperature=0.07, others=7),
            pairs=((0, 1), (1, 0)),
        )
    ),
)
regions = dict(segments=dict(type='LargestMasks', count=32, grid=pixels // patch))
views = [dict(size=pixels, scale=(0.25, 1.0), flip=0.5, interpolation='bilinear', count=2)]
