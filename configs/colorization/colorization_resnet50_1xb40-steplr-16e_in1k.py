"""Colorization with a ResNet-50, 16 epochs of ImageNet, 40 images a step; see the README beside this file."""

_base_ = [
    '../_base_/methods/colorization.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adam_steplr_16e_colorization.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=40, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
