"""SwAV with 2 x 224 + 6 x 96 crops, 800 epochs of ImageNet; see the README beside this file."""

_base_ = [
    '../_base_/methods/swav.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/larc_coslr_200e_swav.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=64, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
train_cfg = dict(max_epochs=800)
