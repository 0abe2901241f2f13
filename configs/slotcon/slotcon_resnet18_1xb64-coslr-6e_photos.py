"""SlotCon on some thousand photos of your own, on a small machine: ResNet-18 at 96 px."""

_base_ = ['slotcon_resnet50_8xb64-coslr-200e_in1k.py']

epochs = 6
slots = 64
model = dict(
    momentum=dict(start=0.97, end=1.0),  # a short run needs a target that follows faster
    # C5 with 6 x 6 cells instead of 3 x 3, by dilation: few cells make few groups. The weights fit the
    # undilated network all the same.
    backbone=dict(depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    heads=dict(
        slots=dict(
            projector=dict(channels=(512, 512, 512, 128), slots=slots, last_norm=True),
            predictor=dict(channels=(128, 512, 512, 128)),
            # Officially 0.07, which left every cell's target nearly uniform in a short trial; see the README.
            objective=dict(slots=slots, teacher_temperature=0.04),
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
        pipeline=[
            dict(
                type='MultiView',
                views=[{**v, 'size': 96} for v in _base_.views],
                photometric_on='worker',
                min_overlap=0.01,
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
