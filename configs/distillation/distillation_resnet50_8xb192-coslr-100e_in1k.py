"""ResNet-50 from DINOv2's ViT-B/14, 100 epochs of ImageNet; any folder of photos will do."""

_base_ = [
    '../_base_/methods/distillation.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_100e_distillation.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=192, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
