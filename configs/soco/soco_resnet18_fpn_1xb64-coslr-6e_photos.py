"""SoCo on some thousand photos of your own, on a small machine: ResNet-18 at 112 px, a slim pyramid.

Backbone, pyramid and box head are those of configs/detection/faster-rcnn_r18_fpn-bn_4conv1fc-bn_bccd.py.
Strides and thresholds are the same too, so a box is pooled from the same level as in the detector. Objects
are contrasted (InfoNCE): in a short run, with the cosine alone, the box head's features lose dimensions.
"""

_base_ = ['../_base_/methods/soco.py', '../_base_/small_machine.py']

model = dict(
    backbone=dict(depth=18, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 256, 512], out_channels=64, num_outs=3),
    heads=dict(
        objects=dict(
            units=dict(levels=(0, 1, 2), thresholds=(56, 112, 224)),
            projector=dict(
                in_channels=64,
                conv_channels=64,
                fc=256,
                # Batch norm at the end, as in PixPro's small recipe; else projections collapse with SGD.
                channels=(256, 512, 128),
                last_norm=True,
                bias=(True, False),
            ),
            predictor=dict(channels=(128, 512, 128)),
            # Negatives are all other objects of the batch, also those that overlap it in its own image.
            objective=dict(_delete_=True, type='InfoNCE', temperature=0.2, queue=0, batch='units'),
            loss_weight=1.0,
        )
    ),
)
side = _base_.small_side
views = [dict(v, size=size) for v, size in zip(_base_.views, (side, side, side // 2), strict=True)]
objects = dict(_base_.objects, count=8, jitter=0.0)
train_dataloader = dict(
    dataset=dict(
        proposals=dict(
            type='Filtered',
            provider=dict(type='ProposalStore', path='data/proposals'),
            # Objects down to 20 px of a view; SoCo's own filter keeps objects above 0.3 of the image.
            rules=[
                dict(type='MinSide', pixels=22),
                dict(type='AspectRatio', low=1 / 3, high=3),
                dict(type='RelativeSize', low=0.18, high=0.8),
                dict(type='DropDuplicates', iou=0.7),
            ],
        ),
        pipeline=[dict(_base_.multi_view, views=views, regions=dict(objects=objects))],
    )
)
