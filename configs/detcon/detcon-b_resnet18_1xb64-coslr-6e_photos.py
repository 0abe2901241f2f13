"""DetCon-B on some thousand photos of your own, on a small machine: ResNet-18 at 96 px, 6 x 6 cells.

The masks are made as they are needed (some ms a photo); nothing has to be prepared.
"""

_base_ = ['detcon-b_resnet50_8xb512-coslr-100e_in1k.py']

epochs = 6
model = dict(
    momentum=dict(start=0.97, end=1.0),  # a short run needs a target that follows faster
    # C5 at stride 16, as FCN uses it: 6 x 6 cells. Of 3 x 3, most masks would win none.
    backbone=dict(depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    heads=dict(
        masks=dict(
            # Batch norm at the end, as in the small recipe of PixPro: without it embeddings close up.
            projector=dict(channels=(512, 512, 128), last_norm=True, bias=(True, False)),
            predictor=dict(channels=(128, 512, 128)),
        )
    ),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        data_root='data/photos',
        # The official 1000 and 1000 are for some 500 x 375 px; these are for a short side of 128 px.
        proposals=dict(
            _delete_=True, type='Felzenszwalb', scale=150, min_size=150, short_side=128
        ),
        # Without a GPU to do it, colour operators are faster on uint8 in the worker; the views are the same.
        pipeline=[
            dict(
                type='MultiView',
                views=[{**v, 'size': 96} for v in _base_.views],
                proposals={**_base_.masks, 'grid': 6},
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
