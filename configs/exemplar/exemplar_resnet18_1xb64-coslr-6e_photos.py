"""Exemplar on up to 4,000 photos of your own, on a small machine."""

_base_ = ['../_base_/methods/exemplar.py', '../_base_/small_machine.py']

seeds = 4000
model = dict(
    backbone=_base_.stride16,
    heads=dict(exemplar=dict(target=dict(classes=seeds), projector=dict(channels=(512, seeds)))),
)
views = [{**_base_.view, 'size': _base_.small_side}]
train_dataloader = dict(dataset=dict(max_images=seeds, pipeline=[dict(_base_.multi_view, views=views)]))
