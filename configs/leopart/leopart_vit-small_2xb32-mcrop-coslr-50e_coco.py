"""Leopart on DINO's ViT-S/16, 2 x 224 + 4 x 96 crops, 50 epochs of COCO."""

_base_ = [
    '../_base_/methods/leopart.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_25e_neco.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        data_root='data/coco/train2017',
        pipeline=[dict(type='MultiView', views=_base_.views, min_overlap=0.02)],
    ),
)
train_cfg = dict(max_epochs=50)
