"""Colorization with a ResNet-50, 16 epochs of ImageNet, 40 images a step; see the README beside this file."""

_base_ = [
    '../_base_/methods/colorization.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=40, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='Adam', lr=3e-5, betas=(0.9, 0.99), weight_decay=1e-3)
)
# a tenth after 224,000 and 448,000 of 512,000 steps
param_scheduler = [dict(type='MultiStepLR', milestones=[7, 14], gamma=0.1, by_epoch=True)]
train_cfg = dict(type='PretrainLoop', max_epochs=16)
auto_scale_lr = dict(base_batch_size=40, enable=False)
