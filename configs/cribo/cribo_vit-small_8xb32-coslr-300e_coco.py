"""CrIBo with a ViT-S/16 from scratch, 300 epochs of COCO; arguments of the released vits16-coco."""

_base_ = [
    '../_base_/methods/cribo.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_100e_dino.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=32,
    dataset=dict(data_root='data/coco/train2017', pipeline=[dict(type='MultiView', views=_base_.views)]),
)
optim_wrapper = dict(optimizer=dict(lr=5e-4))  # at 256 images
rate, decay = _base_.param_scheduler
param_scheduler = [dict(rate, factor=dict(rate['factor'], end=0.02)), decay]  # to 1e-5
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=256)
