"""BYOL on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/byol.py', '../_base_/small_machine.py']

model = dict(
    momentum=dict(start=0.97, end=1.0),  # a short run needs a target that follows faster
    backbone=_base_.stride16,
    heads=dict(
        image=dict(projector=dict(channels=(512, 512, 128)), predictor=dict(channels=(128, 512, 128)))
    ),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
