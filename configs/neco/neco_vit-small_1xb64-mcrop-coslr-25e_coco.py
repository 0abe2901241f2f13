"""NeCo on DINOv2's ViT-S/14 with registers, 2 x 518 + 4 x 98 crops, 25 epochs of COCO."""

_base_ = [
    '../_base_/methods/neco.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_25e_neco.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        data_root='data/coco/train2017',
        pipeline=[dict(type='MultiView', views=_base_.views, min_overlap=0.02)],
    ),
)
