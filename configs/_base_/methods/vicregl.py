"""VICRegL: model and views; configs/vicregl/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/byol.py']

alpha = 0.75  # the global criterion's share; 0.9 for more of the whole image
sync_bn = 'torch'
model = dict(
    type='SharedPretrainer',
    backbone=dict(zero_init_residual=True),
    heads=dict(
        image=dict(
            projector=dict(
                type='MLP',
                channels=(2048, 8192, 8192, 8192),
                norm=True,
                bias=(True, True, False),
            ),
            # VICRegL averages the two views' covariance terms; VICReg sums them.
            objective=dict(type='VICReg', invariance=25.0, variance=25.0, covariance=0.5),
            loss_weight=alpha,
        ),
        local=dict(
            units='Cells',
            projector=dict(
                type='ConvMLP', channels=(2048, 512, 512, 512), norm=True, bias=(True, True, False)
            ),
            matching=[dict(type='NearestFeature', top=None), dict(type='NearestLocation', top=20)],
            objective=dict(type='PositionVICReg', invariance=25.0, variance=25.0, covariance=1.0),
            pairs=((0, 1), (1, 0)),  # the matching rules are summed, the two directions averaged
            loss_weight=1 - alpha,
        ),
    ),
)
