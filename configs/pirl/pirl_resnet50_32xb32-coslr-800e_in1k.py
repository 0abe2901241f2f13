"""PIRL, 800 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/methods/pirl.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_coslr_800e_pirl.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=32, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
