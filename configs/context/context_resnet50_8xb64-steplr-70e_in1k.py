"""Context prediction, 70 epochs of ImageNet; see the README beside it for the source of each number."""

_base_ = [
    '../_base_/methods/context.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_steplr_70e_context.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=64, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
