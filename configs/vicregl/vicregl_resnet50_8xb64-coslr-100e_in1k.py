"""VICRegL, 100 epochs of ImageNet on one machine; the README beside this file has all sources."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_byol.py',
    '../_base_/schedules/lars_coslr_1000e_vicreg.py',
    '../_base_/pretrain_runtime.py',
]

alpha = 0.75  # the global criterion's share; 0.9 for more of the whole image
sync_bn = 'torch'
model = dict(
    type='SharedPretrainer',
    backbone=dict(zero_init_residual=True),
    heads=dict(
        image=dict(
            type='ImageHead',
            projector=dict(
                type='MLP',
                channels=(2048, 8192, 8192, 8192),
                norm=True,
                bias=(True, True, False),
            ),
            # VICRegL takes the mean of the two views' covariance terms, VICReg their sum
            objective=dict(type='VICReg', invariance=25.0, variance=25.0, covariance=0.5),
            loss_weight=alpha,
        ),
        local=dict(
            type='LocalHead',
            projector=dict(
                type='ConvMLP', channels=(2048, 512, 512, 512), norm=True, bias=(True, True, False)
            ),
            matching=[dict(type='NearestFeature', top=None), dict(type='NearestLocation', top=20)],
            objective=dict(type='PositionVICReg', invariance=25.0, variance=25.0, covariance=1.0),
            loss_weight=1 - alpha,
        ),
    ),
)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.6))  # 0.3 * 512 / 256
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=512)
