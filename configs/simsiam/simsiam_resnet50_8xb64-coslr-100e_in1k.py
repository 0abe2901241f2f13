"""SimSiam, 100 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/methods/simsiam.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_coslr_100e_simsiam.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=64, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
