"""DetCo AA, 800 epochs of ImageNet."""

_base_ = ['detco-aa_resnet50_8xb32-coslr-200e_in1k.py']

train_cfg = dict(max_epochs=800)
