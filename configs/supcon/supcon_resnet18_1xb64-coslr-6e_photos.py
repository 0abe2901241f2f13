"""SupCon on some thousand photos of your own, on a small machine: ResNet-18 at 96 px."""

_base_ = ['supcon_resnet50_8xb128-coslr-100e_in1k.py']

epochs = 6
# One folder a class below data/photos; its name is the label.
model = dict(
    backbone=dict(depth=18),
    # a short run needs the batch norm; see the page of DenseCL
    heads=dict(
        image=dict(
            projector=dict(channels=(512, 512, 128), norm=True, last_norm=True), loss_weight=1.0
        )
    ),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        data_root='data/photos',
        # Without a GPU to do it, colour operators are faster on uint8 in the worker; the views are the same.
        pipeline=[dict(type='MultiView', views=[{**_base_.view, 'size': 96}], photometric_on='worker')],
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
