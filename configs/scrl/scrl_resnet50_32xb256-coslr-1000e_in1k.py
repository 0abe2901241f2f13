"""SCRL, 1000 epochs of ImageNet."""

_base_ = ['scrl_resnet50_32xb256-coslr-200e_in1k.py']

model = dict(momentum=dict(start=0.996))
optim_wrapper = dict(optimizer=dict(lr=6.4, weight_decay=1.5e-6))  # 0.2 * 8192 / 256
train_cfg = dict(max_epochs=1000)
