"""DINO with a ResNet-50, 100 epochs of ImageNet: SGD, constant weight decay, crops as in SwAV."""

_base_ = [
    '../_base_/methods/dino.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_100e_dino.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=64, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.resnet_views)])
)
optim_wrapper = dict(  # lr 0.03 * 512 / 256; biases and norms are not decayed here either
    optimizer=dict(_delete_=True, type='SGD', lr=0.06, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=1e-6 / 0.06, warmup=10, warmup_inclusive=True, unit='epoch'),
        convert_to_iter_based=True,
    )
]
default_hooks = dict(clip=dict(type='ClipTensorsHook', max_norm=3.0))
