"""The slim Faster R-CNN on BCCD with a box head that can be pretrained: 4 convolutions, 1 linear layer, BN.

    python tools/train.py configs/detection/faster-rcnn_r18_fpn-bn_4conv1fc-bn_bccd.py --pretrained CHECKPOINT

For configs/soco: backbone, feature pyramid and box head start from the checkpoint. Data, schedule and budget
are those of faster-rcnn_r18_fpn_bccd.py, whose box head has two linear layers: compare initialisations
within one of the two files.
"""

_base_ = './faster-rcnn_r18_fpn_bccd.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='Shared4Conv1FCBBoxHead',
            conv_out_channels=64,
            norm_cfg=dict(type='BN', requires_grad=True),
        )
    )
)
