"""SupCon, 100 epochs of ImageNet with labels; see the README beside this file."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_supcon.py',
    '../_base_/schedules/sgd_coslr_1000e_supcon.py',
    '../_base_/pretrain_runtime.py',
]

model = dict(
    type='SharedPretrainer',
    join_views=True,
    heads=dict(
        image=dict(
            type='ImageHead',
            projector=dict(type='MLP', channels=(2048, 2048, 128)),
            objective=dict(
                type='InfoNCE',
                temperature=0.1,
                queue=0,
                batch='views',
                positives=dict(type='SameLabel', form='out'),
            ),
            pairs=((0, 1), (1, 0)),
            loss_weight=0.1 / 0.07,  # the official code's factor, t over its base temperature
        )
    ),
)
train_dataloader = dict(batch_size=128)
train_cfg = dict(max_epochs=100)
sync_bn = 'torch'
