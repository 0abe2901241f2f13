"""Mask R-CNN on a plain ViT-S/16 with a simple feature pyramid (ViTDet: Li et al., ECCV 2022).

As in the paper: LayerNorm in pyramid and heads; two convolutions in the RPN; four convolutions and one linear
layer in the box head. Two deviations, so that the backbone is mmseg's stock ViT: every block has global
attention (in the paper all but four have windows), and there are no relative positions. `with_cp` recomputes
each block in the backward pass to save memory: mmseg's attention stores whole matrices, 4,096 x 4,096 per
head at 1024 pixels.
"""

_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

norm_cfg = dict(type='densecl.LN2d')
model = dict(
    data_preprocessor=dict(batch_augments=None),
    backbone=dict(
        _delete_=True,
        type='mmseg.VisionTransformer',
        img_size=1024,
        patch_size=16,
        embed_dims=384,
        num_layers=12,
        num_heads=6,
        patch_bias=True,
        final_norm=True,
        drop_path_rate=0.1,
        norm_cfg=dict(type='LN', eps=1e-6),
        with_cp=True,
    ),
    neck=dict(
        _delete_=True,
        type='densecl.SimpleFeaturePyramid',
        in_channels=384,
        out_channels=256,
        num_outs=5,
    ),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type='mmdet.Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
