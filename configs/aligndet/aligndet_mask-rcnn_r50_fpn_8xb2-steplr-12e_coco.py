"""AlignDet of Mask R-CNN with ResNet-50 and FPN, 12 epochs of COCO; the backbone is given (--pretrained)."""

_base_ = [
    '../_base_/methods/aligndet.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_steplr_12e_aligndet.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        data_root='data/coco/train2017',
        proposals=dict(
            type='Filtered',
            provider=dict(type='ProposalStore', path='data/proposals_aligndet'),
            rules=_base_.rules,
            fallbacks=[],
        ),
        pipeline=[dict(type='MultiView', views=_base_.views, regions=dict(objects=_base_.objects))],
    ),
)
default_hooks = dict(checkpoint=dict(interval=1))
