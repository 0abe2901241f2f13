"""Jigsaw, 105 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/methods/jigsaw.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_steplr_105e_vissl.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
# A warm-up over five epochs, in steps of an epoch; VISSL has it here and not for rotation.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.25, by_epoch=True, begin=0, end=6),
    *_base_.param_scheduler,
]
