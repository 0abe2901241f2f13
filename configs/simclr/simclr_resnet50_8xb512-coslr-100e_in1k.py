"""SimCLR with v2's three-layer head, 100 epochs of ImageNet; see the README beside this file."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_simclr.py',
    '../_base_/schedules/lars_coslr_100e_simclr.py',
    '../_base_/pretrain_runtime.py',
]

model = dict(
    type='SharedPretrainer',
    join_views=True,
    data_preprocessor=_base_.preprocessor,
    backbone=dict(zero_init_residual=True),
    heads=dict(
        image=dict(
            type='ImageHead',
            projector=dict(
                type='MLP',
                channels=(2048, 2048, 2048, 128),
                norm=True,
                last_norm='scale',
                bias=False,
                init='normal',
            ),
            objective=dict(type='InfoNCE', temperature=0.1, queue=0, batch='views'),
            pairs=((0, 1), (1, 0)),
            loss_weight=2.0,  # the official code adds both directions up
        )
    ),
)
train_dataloader = dict(batch_size=512)
sync_bn = 'torch'
