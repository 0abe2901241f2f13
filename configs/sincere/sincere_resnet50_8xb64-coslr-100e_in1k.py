"""SINCERE, 100 epochs of ImageNet with labels; see the README beside this file."""

_base_ = ['../supcon/supcon_resnet50_8xb128-coslr-100e_in1k.py']

model = dict(heads=dict(image=dict(objective=dict(form='apart'), loss_weight=1.0)))
train_dataloader = dict(batch_size=64)
auto_scale_lr = dict(base_batch_size=512)
