"""DetCon-S, 100 epochs of ImageNet: the objects of DetCon-B in the recipe of SimCLR; see the README."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/views/simclr.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/lars_coslr_100e_simclr.py',
    '../_base_/pretrain_runtime.py',
]

sync_bn = 'torch'
model = dict(
    type='SharedPretrainer',
    join_views=True,
    data_preprocessor=_base_.preprocessor,
    backbone=dict(zero_init_residual=True),
    heads=dict(
        masks=dict(
            units='Masks',
            projector=dict(
                type='MLP',
                channels=(2048, 2048, 128),
                norm=True,
                last_norm='scale',
                bias=False,
                init='normal',
            ),
            matching=dict(type='SameId', share_repeats=True),
            objective=dict(type='InfoNCE', temperature=0.1, queue=0, batch='units+own'),
            pairs=((0, 1), (1, 0)),
            loss_weight=2.0,  # the official loss sums the two directions, a head takes their mean
        )
    ),
)
regions = dict(masks=dict(type='SelectMasks', count=16, grid=7))
train_dataloader = dict(
    batch_size=512,
    dataset=dict(
        proposals=dict(type='ProposalStore', path='data/masks'),
        pipeline=[dict(type='MultiView', views=_base_.views, regions=regions)],
    ),
)
