"""Exemplar on up to 4,000 photos of your own, on a small machine: ResNet-18 at 96 px."""

_base_ = ['../_base_/methods/exemplar.py', '../_base_/small_machine.py']

seeds = 4000
model = dict(
    backbone=dict(depth=18),
    heads=dict(exemplar=dict(target=dict(classes=seeds), projector=dict(channels=(512, seeds)))),
)
views = [{**_base_.view, 'size': 96}]
train_dataloader = dict(dataset=dict(max_images=seeds, pipeline=[dict(_base_.multi_view, views=views)]))
