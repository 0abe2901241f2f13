"""DirectCLR, 100 epochs of ImageNet; see the README beside this file."""

_base_ = [
    '../_base_/methods/directclr.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/lars_coslr_100e_directclr.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=512, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
