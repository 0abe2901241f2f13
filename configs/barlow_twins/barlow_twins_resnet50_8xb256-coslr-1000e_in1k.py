"""Barlow Twins, 1000 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/methods/barlow_twins.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/lars_coslr_1000e_barlowtwins.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=256, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
