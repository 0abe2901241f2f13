"""DetCon-B, 100 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/methods/detcon.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/lars_coslr_100e_detcon.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=512,
    dataset=dict(
        # tools/make_proposals.py data/imagenet/train --provider Felzenszwalb --out data/masks
        proposals=dict(type='ProposalStore', path='data/masks'),
        pipeline=[dict(type='MultiView', views=_base_.views, regions=_base_.regions)],
    ),
)
