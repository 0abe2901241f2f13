"""FCN on ResNet-50 as MoCo fine-tunes it (He et al., CVPR 2020, appendix).

The 3x3 convolutions of the last stage have dilation 2 and stride 1 (output stride 16). Then come two 3x3
convolutions of 256 channels with dilation 6, BN and ReLU, and the 1x1 classifier. There is no dropout and no
auxiliary head; align_corners is used. mmseg's own fcn_r50-d8 (the protocol of DenseCL's VOC-512 figures) has
another output stride and another head, so figures of the two cannot be compared.
"""

_base_ = 'mmseg::_base_/models/fcn_r50-d8.py'

norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    pretrained=None,
    backbone=dict(
        type='ResNet',  # not ResNetV1c: the stem must be the one that was pretrained
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        contract_dilation=False,
        frozen_stages=-1,
        norm_cfg=norm_cfg,
        norm_eval=False,
        style='pytorch',
        init_cfg=None,
    ),
    decode_head=dict(
        channels=256,
        num_convs=2,
        dilation=6,
        concat_input=False,
        dropout_ratio=0.0,
        norm_cfg=norm_cfg,
        align_corners=True,
    ),
    auxiliary_head=None,
)
