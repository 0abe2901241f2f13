"""CAPI with a ViT-L/14, 500,000 steps of 16,384 images; see the README beside this file."""

_base_ = [
    '../_base_/methods/capi.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_500k_capi.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=512, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
train_cfg = dict(type='PretrainLoop', max_epochs=6400)  # of 78 steps
