"""VQ-KD with a ViT-B/16, one block as its decoder and DINO as its teacher, 100 epochs; see the README."""

_base_ = [
    '../_base_/methods/vqkd.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_100e_vqkd.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=64, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
