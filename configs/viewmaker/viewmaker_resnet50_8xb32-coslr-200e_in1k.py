"""ViewMaker with the official constants of CIFAR-10, on ImageNet; see the README beside this file."""

_base_ = [
    '../_base_/methods/viewmaker.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_coslr_200e.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=32, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
