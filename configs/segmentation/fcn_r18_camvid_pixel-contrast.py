"""fcn_r18_camvid.py with supervised pixel contrast beside it; everything else is the same.

    python tools/train.py configs/segmentation/fcn_r18_camvid_pixel-contrast.py

The map of a 160-pixel crop has 10 x 10 cells: a class counts from 4 cells on, and gives up to 16 anchors.
The warm-up is an eighth of the run, as 5,000 of 40,000 iterations are.
"""

_base_ = './fcn_r18_camvid.py'

model = dict(
    auxiliary_head=dict(
        _delete_=True,
        type='densecl.PixelContrastHead',
        in_channels=512,
        in_index=3,
        channels=128,
        num_classes=11,
        max_views=16,
        min_pixels=4,
        warmup_iters=25,
        memory=dict(length=64),
    )
)
