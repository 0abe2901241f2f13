"""DirectCLR on some thousand photos of your own, on a small machine: ResNet-18 at 96 px."""

_base_ = ['directclr_resnet50_8xb512-coslr-100e_in1k.py']

epochs = 6
model = dict(
    backbone=dict(depth=18),
    heads=dict(image=dict(projector=dict(dimensions=90))),  # of 512, as 360 of 2048
)
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        data_root='data/photos',
        # Without a GPU to do it, colour operators are faster on uint8 in the worker; the views are the same.
        pipeline=[
            dict(
                type='MultiView',
                views=[{**v, 'size': 96} for v in _base_.views],
                photometric_on='worker',
            )
        ],
    ),
)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.06, momentum=0.9, weight_decay=1e-4),
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=1), collapse=dict(interval=20)
)
auto_scale_lr = dict(_delete_=True, base_batch_size=64, enable=False)
