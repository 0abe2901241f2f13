"""iBOT with a ViT-S/16, 2 x 224 + 10 x 96 crops, 800 epochs of ImageNet; see the README beside this file."""

_base_ = [
    '../_base_/methods/ibot.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_100e_dino.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=64, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
optim_wrapper = dict(optimizer=dict(lr=2e-3))  # 5e-4 * 1024 / 256
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=1e-6 / 2e-3, warmup=10, warmup_inclusive=True, unit='epoch'),
        convert_to_iter_based=True,
    ),
    dict(
        type='ParamSchedule',
        param_name='weight_decay',
        value=dict(start=0.04, end=0.4),
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=800)
default_hooks = dict(clip=dict(type='ClipTensorsHook', max_norm=3.0))
auto_scale_lr = dict(base_batch_size=1024, enable=False)
