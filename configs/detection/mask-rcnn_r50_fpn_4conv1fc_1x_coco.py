"""Mask R-CNN R50-FPN on COCO, 1x, for AlignDet: pyramid, RPN and box head are pretrained, as mmdet has them.

    bash tools/dist_train.sh configs/detection/mask-rcnn_r50_fpn_4conv1fc_1x_coco.py 8 --pretrained CHECKPOINT

Against mask-rcnn_r50_fpn_1x_coco.py there is no norm in pyramid, box head and mask head; as AlignDet's README
says, the learning rate is 1.5 times and the weight decay half as large. Compare initialisations in one file.
"""

_base_ = './mask-rcnn_r50_fpn_1x_coco.py'

model = dict(
    neck=dict(norm_cfg=None),
    roi_head=dict(bbox_head=dict(norm_cfg=None), mask_head=dict(norm_cfg=None)),
)
optim_wrapper = dict(optimizer=dict(lr=0.03, weight_decay=5e-5))
