"""DirectCLR, 100 epochs of ImageNet; see the README beside this file."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_byol.py',
    '../_base_/schedules/lars_coslr_100e_directclr.py',
    '../_base_/pretrain_runtime.py',
]

model = dict(
    type='SharedPretrainer',
    backbone=dict(zero_init_residual=True),
    heads=dict(
        image=dict(
            type='ImageHead',
            projector=dict(type='FirstChannels', dimensions=360),
            objective=dict(type='InfoNCE', temperature=0.1, queue=0, batch='keys'),
            pairs=((0, 1), (1, 0)),
        )
    ),
)
train_dataloader = dict(batch_size=512)
sync_bn = 'torch'
