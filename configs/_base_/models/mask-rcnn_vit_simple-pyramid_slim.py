"""A small Mask R-CNN on a ViT with a simple pyramid, for a CPU and images of about 200 pixels.

Differences from mask-rcnn_vit-small_simple-pyramid: 48 channels, one convolution in the RPN, a box head of
two linear layers, 64 regions per image, class-agnostic box and mask outputs.
"""

_base_ = './mask-rcnn_vit-small_simple-pyramid.py'

channels = 48
model = dict(
    backbone=dict(with_cp=False),
    neck=dict(out_channels=channels),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        num_convs=1,
        anchor_generator=dict(scales=[4]),  # sides 16 .. 256
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels, finest_scale=28),
        bbox_head=dict(
            type='mmdet.Shared2FCBBoxHead',
            in_channels=channels,
            fc_out_channels=256,
            num_classes=12,
            reg_class_agnostic=True,
        ),
        mask_roi_extractor=dict(out_channels=channels, finest_scale=28),
        mask_head=dict(
            in_channels=channels,
            conv_out_channels=channels,
            num_convs=2,
            num_classes=12,
            class_agnostic=True,
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=400, max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=400, max_per_img=100), rcnn=dict(max_per_img=50)),
)
