"""MoCo v3 with a ViT-S/16, 300 epochs of ImageNet; see the README beside this file."""

_base_ = [
    '../_base_/models/vit-small_mocov3.py',
    '../_base_/views/mocov3.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_300e_mocov3-vit.py',
    '../_base_/pretrain_runtime.py',
]

model = dict(
    type='MomentumPretrainer',
    momentum=dict(start=0.99, end=1.0),
    heads=dict(
        image=dict(
            projector=dict(
                type='MLP', channels=(384, 4096, 4096, 256), norm=True, last_norm='plain', bias=False
            ),
            predictor=dict(type='MLP', channels=(256, 4096, 256), norm=True, last_norm='plain', bias=False),
            objective=dict(type='InfoNCE', temperature=0.2, queue=0, batch='keys'),
            pairs=((0, 1), (1, 0)),
            loss_weight=0.8,  # 4 t
        )
    ),
)
train_dataloader = dict(
    batch_size=512, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.vit_views)])
)
sync_bn = 'torch'
