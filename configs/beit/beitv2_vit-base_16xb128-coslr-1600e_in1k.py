"""BEiT v2 with a ViT-B/16, 1,600 epochs of ImageNet, 2,048 images a step; see the README."""

_base_ = ['beitv2_vit-base_16xb128-coslr-300e_in1k.py']

model = dict(backbone=dict(drop_path=0.1))
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999)))
train_cfg = dict(max_epochs=1600)
