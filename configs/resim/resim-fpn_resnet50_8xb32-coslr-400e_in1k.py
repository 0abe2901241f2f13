"""ReSim-FPN, 400 epochs of ImageNet."""

_base_ = ['resim-fpn_resnet50_8xb32-coslr-200e_in1k.py']

train_cfg = dict(max_epochs=400)
