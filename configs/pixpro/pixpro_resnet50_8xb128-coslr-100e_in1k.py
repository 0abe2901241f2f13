"""PixPro, 100 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_byol.py',
    '../_base_/schedules/lars_coslr_100e_pixpro.py',
    '../_base_/pretrain_runtime.py',
]

sync_bn = 'torch'
views = [dict(view, interpolation='bilinear') for view in _base_.views]
model = dict(
    type='MomentumPretrainer',
    momentum=dict(start=0.99, end=1.0),
    backbone=dict(zero_init_residual=True),
    heads=dict(
        pixel=dict(
            type='PixelHead',
            projector=dict(type='ConvMLP', channels=(2048, 4096, 256), norm=True, bias=True),
            predictor=dict(type='PixelPropagation', channels=256, power=2, layers=1),
            matching=dict(type='ByLocation', threshold=0.7),
            objective=dict(type='PixelConsistency'),
            pairs=((0, 1), (1, 0)),
            loss_weight=4.0,  # the official loss sums -2 cos over the directions, a head takes their mean
        )
    ),
)
train_dataloader = dict(
    batch_size=128, dataset=dict(pipeline=[dict(type='MultiView', views=views)])
)
