"""BEiT with a ViT-B/16 and k-means tokens, 800 epochs of ImageNet, 2,048 images a step; see the README."""

_base_ = [
    '../_base_/methods/beit.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_800e_beit.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=128, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
