"""Rotation, 105 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/methods/rotation.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_steplr_105e_vissl.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
