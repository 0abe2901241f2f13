"""SCRL, 200 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/methods/scrl.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/lars_coslr_100e_byol.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=256,
    dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views, regions=_base_.regions)]),
)
optim_wrapper = dict(
    optimizer=dict(variant='larc', exclude='1d', lr=14.4, weight_decay=1e-6)  # 0.45 * 8192 / 256
)
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=8192)
