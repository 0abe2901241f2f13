"""Mask R-CNN R50-FPN as the papers of self-supervised pretraining fine-tune it.

Every layer is trained: no stage and no batch norm is frozen. Pyramid, box head (4 convolutions, 1 linear
layer) and mask head also have (Sync)BN. With one process SyncBN becomes BN.
"""

_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False, style='pytorch', init_cfg=None),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(
        bbox_head=dict(type='mmdet.Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
