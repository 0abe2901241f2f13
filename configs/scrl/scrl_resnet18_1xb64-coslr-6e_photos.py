"""SCRL on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/scrl.py', '../_base_/small_machine.py']

model = dict(
    backbone=_base_.stride16,
    heads=dict(
        regions=dict(
            projector=dict(channels=(512, 512, 128)),
            predictor=dict(channels=(128, 512, 128)),
            units=dict(aligned=True),
        )
    ),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
# 16 px are a cell, as 32 are at stride 32
regions = dict(overlap=dict(type='OverlapBoxes', count=10, min_size=16, max_iou=0.5))
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views, regions=regions)]))
