"""SINCERE, 100 epochs of ImageNet with labels; see the README beside this file."""

_base_ = ['../supcon/supcon_resnet50_8xb128-coslr-100e_in1k.py']

model = dict(heads=dict(image=dict(objective=dict(positives=dict(form='sincere')))))
train_dataloader = dict(batch_size=64)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0.001),
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(base_batch_size=512)
