"""A small stock Mask R-CNN for a CPU and images of about 200 pixels.

Differences from mask-rcnn_r50_fpn: ResNet-18; no P2 (three quarters of the work of neck and RPN is there);
64 channels; 64 regions per image; class-agnostic box and mask outputs (there are few objects per class).
As in all fine-tuning of self-supervised weights here, no stage is frozen and every BN is trained. Neck and
mask head have BN too, as new layers start from random weights. BN, not SyncBN, as it is for one process.
"""

_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

channels = 64
norm_cfg = dict(type='BN', requires_grad=True)
strides = [8, 16, 32, 64]
roi_extractor = dict(out_channels=channels, featmap_strides=strides[:3], finest_scale=28)
model = dict(
    backbone=dict(
        depth=18,
        out_indices=(1, 2, 3),
        frozen_stages=-1,
        norm_cfg=norm_cfg,
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[128, 256, 512], out_channels=channels, num_outs=4, norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[4], strides=strides),  # sides 32 .. 256
    ),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        bbox_head=dict(
            in_channels=channels,
            fc_out_channels=256,
            num_classes=12,
            reg_class_agnostic=True,
        ),
        mask_roi_extractor=roi_extractor,
        mask_head=dict(
            in_channels=channels,
            conv_out_channels=channels,
            num_convs=2,
            num_classes=12,
            class_agnostic=True,
            norm_cfg=norm_cfg,
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=400, max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=400, max_per_img=100), rcnn=dict(max_per_img=50)),
)
