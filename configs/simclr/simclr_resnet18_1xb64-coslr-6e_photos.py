"""SimCLR on some thousand photos of your own, on a small machine: ResNet-18 at 96 px."""

_base_ = ['simclr_resnet50_8xb512-coslr-100e_in1k.py']

epochs = 6
# Strength 0.5, as the paper has it on CIFAR, and larger crops: a small network learns nothing in a short run
# from views of which it can hardly tell that they belong together.
jitter = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
view = {
    **_base_.view,
    'size': 96,
    'scale': (0.2, 1.0),
    'photometric': {**_base_.view['photometric'], **jitter},
}
model = dict(
    data_preprocessor=dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    backbone=dict(depth=18),
    heads=dict(
        image=dict(
            projector=dict(channels=(512, 512, 128)),
            objective=dict(temperature=0.2),  # 126 negatives need a softer choice than 8,190
            loss_weight=1.0,
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
        pipeline=[dict(type='MultiView', views=[view], photometric_on='worker')],
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
