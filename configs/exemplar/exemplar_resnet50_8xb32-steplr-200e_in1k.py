"""Exemplar with a softmax over 8,000 photos of ImageNet; see the README for the source of each number."""

_base_ = [
    '../_base_/methods/exemplar.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_steplr_200e.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    dataset=dict(max_images=_base_.seeds, pipeline=[dict(type='MultiView', views=_base_.views)])
)
