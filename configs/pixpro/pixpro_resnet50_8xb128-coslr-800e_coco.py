"""PixPro, 800 epochs of COCO train2017, with the recipe for ImageNet; it is not official."""

_base_ = ['pixpro_resnet50_8xb128-coslr-100e_in1k.py']

train_dataloader = dict(dataset=dict(data_root='data/coco/train2017'))
train_cfg = dict(max_epochs=800)
