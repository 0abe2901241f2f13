"""DIP on DINOv2's ViT-S/14 with registers, 2 x 224 crops, masks out of a store, 5 epochs of COCO."""

_base_ = [
    '../_base_/methods/dip.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_5e_dip.py',
    '../_base_/pretrain_runtime.py',
]

optim_wrapper = dict(accumulative_counts=12)  # passes of 32 images a step
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        data_root='data/coco/train2017',
        proposals=dict(type='ProposalStore', path='data/masks/coco'),
        pipeline=[dict(type='MultiView', views=_base_.views, regions=_base_.regions, min_overlap=0.1)],
    ),
)
auto_scale_lr = dict(base_batch_size=32)  # of a pass
