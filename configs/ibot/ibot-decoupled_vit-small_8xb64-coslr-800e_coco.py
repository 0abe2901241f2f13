"""iBOT with de-coupled augmentation, 800 epochs of COCO train2017, 512 images a step; see the README."""

_base_ = [
    '../_base_/methods/ibot_decoupled.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_100e_dino.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        data_root='data/coco/train2017', pipeline=[dict(type='MultiView', views=_base_.decoupled_views)]
    ),
)
optim_wrapper = dict(optimizer=dict(lr=2e-3))  # 1e-3 * 512 / 256
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
