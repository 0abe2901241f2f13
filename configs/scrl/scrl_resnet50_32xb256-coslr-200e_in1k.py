"""SCRL, 200 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_byol.py',
    '../_base_/schedules/lars_coslr_100e_byol.py',
    '../_base_/pretrain_runtime.py',
]

sync_bn = 'torch'
model = dict(
    type='MomentumPretrainer',
    momentum=dict(start=0.97, end=1.0),
    join_views=True,
    heads=dict(
        regions=dict(
            type='RegionHead',
            projector=dict(type='MLP', channels=(2048, 4096, 256), norm=True, bias=(True, False)),
            predictor=dict(type='MLP', channels=(256, 4096, 256), norm=True, bias=(True, False)),
            objective=dict(type='RegionConsistency'),
            regions=10,
            min_size=32,
            max_iou=0.5,
            aligned=False,
            pairs=((0, 1), (1, 0)),
            loss_weight=2.0,  # SCRL sums the two directions, a head takes their mean
        )
    ),
)
views = [{**v, 'scale': (0.2, 1.0)} for v in _base_.views]
train_dataloader = dict(
    batch_size=256, dataset=dict(pipeline=[dict(type='MultiView', views=views)])
)
optim_wrapper = dict(
    optimizer=dict(variant='larc', exclude='1d', lr=14.4, weight_decay=1e-6)  # 0.45 * 8192 / 256
)
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=8192)
