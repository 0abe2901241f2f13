"""SoCo on a feature pyramid, 100 epochs of ImageNet; see the README beside this file for each number."""

_base_ = [
    '../_base_/methods/soco.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/lars_coslr_100e_soco.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        proposals=dict(type='ProposalStore', path='data/proposals'),
        pipeline=[dict(type='MultiView', views=_base_.views, regions=dict(objects=_base_.objects))],
    ),
)
