"""CLOP on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/clop.py', '../_base_/small_machine.py']

objectives = [
    dict(type='InfoNCE', temperature=0.2, queue=0, batch='views'),
    dict(type='PrototypeAlignment', classes=100, dim=128),  # at least your classes
]
model = dict(
    backbone=_base_.stride16,
    heads=dict(image=dict(projector=dict(channels=(512, 512, 128)), objective=dict(objectives=objectives))),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
# One folder a class below data/photos; its name is the label.
train_dataloader = dict(
    dataset=dict(source=dict(type='ImageNet'), pipeline=[dict(_base_.multi_view, views=views)])
)
