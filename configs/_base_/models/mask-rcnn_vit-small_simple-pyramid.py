"""Mask R-CNN on a plain ViT-S/16 with a simple feature pyramid (ViTDet: Li et al., ECCV 2022).

As there: LayerNorm in pyramid and heads, two convolutions in the RPN, four and one linear layer in the
box head. Deviations: every block attends globally (there, windows in all but four), and there are no
relative positions, so that the backbone is mmseg's stock ViT. `with_cp` recomputes each block in the
backward pass: mmseg's attention keeps whole matrices, of 4,096 x 4,096 a head at 1024 pixels.
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
