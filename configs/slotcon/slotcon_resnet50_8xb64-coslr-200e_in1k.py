"""SlotCon, 200 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/methods/slotcon.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/lars_coslr_200e_slotcon.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=64, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views, min_overlap=0.01)])
)
