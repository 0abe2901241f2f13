"""MoCo v2, 800 epochs of COCO train2017, in the recipe of DenseCL's COCO comparison."""

_base_ = [
    'mocov2_resnet50_8xb32-coslr-200e_in1k.py',
]

train_dataloader = dict(dataset=dict(data_root='data/coco/train2017'))
optim_wrapper = dict(optimizer=dict(lr=0.3))
train_cfg = dict(max_epochs=800)
