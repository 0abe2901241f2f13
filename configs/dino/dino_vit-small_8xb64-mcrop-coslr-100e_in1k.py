"""DINO with a ViT-S/16, 2 x 224 + 8 x 96 crops, 100 epochs of ImageNet; see the README beside this file."""

_base_ = [
    '../_base_/models/vit-small.py',
    '../_base_/views/dino.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_100e_dino.py',
    '../_base_/pretrain_runtime.py',
]

model = dict(
    type='MomentumPretrainer',
    join_views=True,
    momentum=dict(start=0.996, end=1.0),
    heads=dict(
        image=dict(
            units=dict(type='Prototypes', freeze=1),
            projector=dict(
                type='PrototypeProjector',
                channels=(384, 2048, 2048, 256),
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
            pairs='crops',
        )
    ),
)
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
default_hooks = dict(clip=dict(type='ClipTensorsHook', max_norm=3.0))
