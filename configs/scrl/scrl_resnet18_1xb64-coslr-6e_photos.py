"""SCRL on some thousand photos of your own, on a small machine: ResNet-18 at 96 px, 6 x 6 cells."""

_base_ = ['../_base_/methods/scrl.py', '../_base_/small_machine.py']

model = dict(
    backbone=_base_.stride16,
    heads=dict(
        regions=dict(
            projector=dict(channels=(512, 512, 128)),
            predictor=dict(channels=(128, 512, 128)),
            min_size=16,  # a cell, as 32 px are at stride 32
            aligned=True,
        )
    ),
)
views = [{**v, 'size': 96} for v in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
