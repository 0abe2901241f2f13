"""Barlow Twins on some thousand photos of your own, on a small machine: ResNet-18 at 96 px."""

_base_ = ['../_base_/methods/barlow_twins.py', '../_base_/small_machine.py']

model = dict(
    backbone=dict(depth=18),
    heads=dict(image=dict(projector=dict(channels=(512, 1024, 1024, 1024)))),
)
views = [{**v, 'size': 96} for v in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-4))
