"""CLOP on NT-Xent, 100 epochs of ImageNet with labels; see the README beside this file."""

_base_ = [
    '../_base_/methods/clop.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_coslr_1000e_supcon.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        source=dict(type='ImageNet'),
        pipeline=[dict(type='MultiView', views=_base_.views)],
    ),
)
train_cfg = dict(max_epochs=100)
