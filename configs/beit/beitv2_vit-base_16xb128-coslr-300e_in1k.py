"""BEiT v2 with a ViT-B/16, 300 epochs of ImageNet, 2,048 images a step; see the README."""

_base_ = [
    '../_base_/methods/beitv2.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_800e_beit.py',
    '../_base_/pretrain_runtime.py',
]

model = dict(backbone=dict(drop_path=0.0))
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.98)))
train_cfg = dict(max_epochs=300)
