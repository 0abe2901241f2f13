"""A small stock FCN for a CPU: ResNet-18 at stride 16, two dilated convolutions of 128 channels.

The head follows MoCo's segmentation protocol (two convolutions, no dropout, no auxiliary head; see
configs/segmentation). Only the dilation differs, 2 instead of 6: the map of a 160-pixel crop has 10 cells
per side. No stage is frozen, and every BN is trained. BN, not SyncBN, as it is for one process.
"""

_base_ = 'mmseg::_base_/models/fcn_r50-d8.py'

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    pretrained=None,
    backbone=dict(
        type='ResNet',  # not ResNetV1c: the stem must be the one that was pretrained
        depth=18,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        contract_dilation=False,
        frozen_stages=-1,
        norm_cfg=norm_cfg,
        norm_eval=False,
        init_cfg=None,
    ),
    decode_head=dict(
        in_channels=512,
        channels=128,
        num_convs=2,
        dilation=2,
        concat_input=False,
        dropout_ratio=0.0,
        norm_cfg=norm_cfg,
        align_corners=True,
    ),
    auxiliary_head=None,
)
