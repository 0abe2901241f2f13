"""DenseCL on the bundled photos, for a small machine: ResNet-18, 128 px, a short queue."""

_base_ = '../densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py'

from densecl.sample import sample_root  # noqa: E402  (after _base_: mmengine reads it in this order)

epochs = 12
root = str(sample_root())
model = dict(
    backbone=dict(depth=18),
    bn_groups=4,
    heads=dict(
        image=dict(projector=dict(channels=(512, 512, 128)), objective=dict(queue=512)),
        dense=dict(projector=dict(channels=(512, 512, 128)), objective=dict(queue=512)),
    ),
)
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    pin_memory=False,
    dataset=dict(
        data_root=[f'{root}/photos', f'{root}/detection/train'],
        pipeline=[dict(type='MultiView', views=[{**_base_.view, 'size': 128}])],
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.06))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=epochs))
custom_hooks = [
    dict(type='MomentumUpdateHook'),
    dict(type='CollapseHook', interval=10),
    dict(type='TerminateHook'),
]
