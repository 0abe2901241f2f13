"""SiT with a ViT-S/16, 800 epochs of ImageNet, 256 images a step; see the README beside this file."""

_base_ = [
    '../_base_/methods/sit.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_100e_dino.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=64, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
optim_wrapper = dict(optimizer=dict(lr=5e-4))  # 5e-4 * 256 / 256
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=1e-6 / 5e-4, warmup=10, warmup_inclusive=True, unit='epoch'),
        convert_to_iter_based=True,
    ),
    dict(
        type='ParamSchedule',
        param_name='weight_decay',
        value=dict(start=0.04, end=0.1),
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=800)
default_hooks = dict(clip=dict(type='ClipTensorsHook', max_norm=3.0))
auto_scale_lr = dict(base_batch_size=256, enable=False)
