"""SoCo on a feature pyramid, 800 epochs of COCO train2017, with the recipe for ImageNet; not official."""

_base_ = ['soco_resnet50_fpn_16xb128-coslr-100e_in1k.py']

train_dataloader = dict(
    dataset=dict(data_root='data/coco/train2017', proposals=dict(path='data/proposals_coco'))
)
train_cfg = dict(max_epochs=800)
