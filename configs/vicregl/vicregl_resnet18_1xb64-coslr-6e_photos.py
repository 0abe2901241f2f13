"""VICRegL on some thousand photos of your own, on a small machine: ResNet-18 at 96 px, 6 x 6 cells."""

_base_ = ['vicregl_resnet50_8xb64-coslr-100e_in1k.py']

epochs = 6
model = dict(
    # C5 at stride 16, as FCN uses it: 6 x 6 cells, where stride 32 leaves 3 x 3.
    backbone=dict(depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    heads=dict(
        image=dict(projector=dict(channels=(512, 1024, 1024, 1024))),
        local=dict(
            projector=dict(channels=(512, 128, 128, 128)),
            # the same share of 36 cells as 20 of 49
            matching=[dict(type='NearestFeature', top=None), dict(type='NearestLocation', top=15)],
        ),
    ),
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
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=1), collapse=dict(interval=20)
)
auto_scale_lr = dict(_delete_=True, base_batch_size=64, enable=False)
