"""DetCo AA, 800 epochs of ImageNet."""

_base_ = ['detco-aa_resnet50_8xb32-coslr-200e_in1k.py']

param_scheduler = [dict(type='CosineAnnealingLR', T_max=800, eta_min=0, by_epoch=True)]
train_cfg = dict(max_epochs=800)
