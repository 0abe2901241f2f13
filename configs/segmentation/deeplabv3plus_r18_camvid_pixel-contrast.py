"""A slim DeepLabV3+ on CamVid with supervised pixel contrast, for a CPU.

    python tools/train.py configs/segmentation/deeplabv3plus_r18_camvid_pixel-contrast.py

fcn_r18_camvid_pixel-contrast.py with another decode head: mmseg's own, but narrower and with the
dilations of output stride 16.
"""

_base_ = './fcn_r18_camvid_pixel-contrast.py'

model = dict(
    decode_head=dict(
        _delete_=True,
        type='DepthwiseSeparableASPPHead',
        in_channels=512,
        in_index=3,
        channels=128,
        dilations=(1, 6, 12, 18),
        c1_in_channels=64,
        c1_channels=24,
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=dict(type='BN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    )
)
