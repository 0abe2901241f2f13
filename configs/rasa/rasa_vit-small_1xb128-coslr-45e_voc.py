"""RASA on DINOv2's ViT-S/14 with registers, one crop of 518 px, nine rounds of five epochs of Pascal VOC."""

_base_ = [
    '../_base_/methods/rasa.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_45e_rasa.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        data_root='data/VOCdevkit/VOC2012/JPEGImages',
        pipeline=[dict(type='MultiView', views=_base_.views)],
    ),
)
