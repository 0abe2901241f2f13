"""DINO with a ResNet-50, 100 epochs of ImageNet: SGD, constant weight decay, crops as in SwAV."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_dino.py',
    '../_base_/schedules/adamw_coslr_100e_dino.py',
    '../_base_/pretrain_runtime.py',
]

model = dict(
    type='MomentumPretrainer',
    join_views=True,
    momentum=dict(start=0.996, end=1.0),
    heads=dict(
        image=dict(
            type='PrototypeHead',
            projector=dict(
                type='PrototypeProjector',
                channels=(2048, 2048, 2048, 256),
                activation='GELU',
                init='trunc_normal',
                prototypes=65536,
                weight_norm=True,
            ),
            objective=dict(
                type='SelfDistillation',
                prototypes=65536,
                student_temperature=0.1,
                teacher_temperature=0.04,
                center_momentum=0.9,
            ),
            freeze=1,
        )
    ),
)
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
sync_bn = 'torch'
