"""SoCo without a pyramid, 400 epochs of ImageNet."""

_base_ = ['soco_resnet50_c4_16xb128-coslr-100e_in1k.py']

train_cfg = dict(max_epochs=400)
