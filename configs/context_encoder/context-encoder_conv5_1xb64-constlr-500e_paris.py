"""Context encoder of five convolutions, 500 epochs of street views, 64 images a step; see the README."""

_base_ = [
    '../_base_/methods/context_encoder.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        data_root='data/paris_street-view/train', pipeline=[dict(type='MultiView', views=_base_.views)]
    ),
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=2e-3, betas=(0.5, 0.999)),
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(rules=[dict(match='discriminator', lr_mult=0.1)]),
)
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
train_cfg = dict(type='PretrainLoop', max_epochs=500)
auto_scale_lr = dict(base_batch_size=64, enable=False)
