"""SparK with a ResNet-50, 1,600 epochs of ImageNet, 4,096 images a step; see the README beside this file."""

_base_ = [
    '../_base_/methods/spark.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=128, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
optim_wrapper = dict(
    type='OptimWrapper',
    # lr: 2e-4 * 4096 / 256; LAMB itself cuts the gradient's norm
    optimizer=dict(type='LAMB', lr=3.2e-3, betas=(0.9, 0.95), weight_decay=0.04, max_grad_norm=5.0),
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(rules=[dict(match='1d', decay_mult=0), dict(match='mask_token', decay_mult=0)]),
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0.001, warmup=40, warmup_start=0.005, unit='epoch'),
        convert_to_iter_based=True,
    ),
    dict(
        type='ParamSchedule',
        param_name='weight_decay',
        value=dict(start=0.04, end=0.2),
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='PretrainLoop', max_epochs=1600)
auto_scale_lr = dict(base_batch_size=4096, enable=False)
