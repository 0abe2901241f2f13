"""FinerCL, 200 epochs of ImageNet with MoCo v2's settings; never run at this size."""

_base_ = [
    '../_base_/methods/finercl.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_coslr_200e.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
