"""ViewMaker on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/viewmaker.py', '../_base_/small_machine.py']

model = dict(
    data_preprocessor=dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    backbone=_base_.stride16,
    heads=dict(image=dict(projector=dict(channels=(512, 512, 128)), objective=dict(temperature=0.2))),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
