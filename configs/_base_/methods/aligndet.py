"""AlignDet: model and views; configs/aligndet/README.md has the source of each number."""

_base_ = ['../models/resnet50.py']

contrast = dict(type='InfoNCE', temperature=0.5, queue=0, batch='units+queries', form='apart', mean='weights')
model = dict(
    type='MomentumPretrainer',
    momentum=dict(start=0.996, end=1.0),
    # The backbone is given (--pretrained) and frozen: stem, four stages and their batch statistics.
    frozen_layers=5,
    batch_statistics='held',
    backbone=dict(out_indices=(0, 1, 2, 3)),
    neck=dict(type='mmdet.FPN', in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=5),
    heads=dict(
        proposals=dict(
            units=dict(type='DetectorBoxes', levels=(0, 1, 2, 3), thresholds=(112, 224, 448, 896)),
            matching=dict(type='SameId', share_repeats=True),
            projector=dict(
                type='DetectorHeads',
                rpn_head=dict(
                    type='mmdet.RPNHead',
                    in_channels=256,
                    feat_channels=256,
                    anchor_generator=dict(
                        type='AnchorGenerator', scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]
                    ),
                    bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[1.0, 1.0, 1.0, 1.0]),
                ),
                box_head=dict(
                    type='mmdet.Shared4Conv1FCBBoxHead',
                    in_channels=256,
                    fc_out_channels=1024,
                    roi_feat_size=7,
                ),
                channels=(1024, 1024, 256),
            ),
            objective=dict(
                type='Sum',
                objectives=[
                    contrast,
                    dict(type='BoxRegression', samples=4096),
                ],
            ),
        )
    ),
)
view = dict(
    count=2,
    size=736,
    scale=(0.64, 1.0),
    flip=0.5,
    photometric=dict(
        brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0, jitter_prob=0.5, solarize_prob=0.1
    ),
)
views = [view]
objects = dict(type='SelectBoxes', count=64, min_common=1, jitter=0.0, jitter_prob=0.0)
# Proposals of selective search: aspect ratio at most 3, sides at most 0.8 of the image's, IoU below a half.
rules = [
    dict(type='AspectRatio', low=1 / 3, high=3),
    dict(type='RelativeSize', low=0.0, high=0.8),
    dict(type='DropDuplicates', iou=0.5),
]
