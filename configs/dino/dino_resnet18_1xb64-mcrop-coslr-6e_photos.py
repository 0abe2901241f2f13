"""DINO on some thousand photos of your own, on a small machine: ResNet-18, 2 x 96 + 4 x 64 px."""

_base_ = ['dino_resnet50_8xb64-mcrop-coslr-100e_in1k.py']

epochs = 6
# Milder crops: 5 % of a photo at 64 px show too little to learn from in so short a run.
small = [{**view, 'size': 96, 'scale': (0.3, 1.0)} for view in _base_.resnet_views[:2]]
small.append({**_base_.resnet_views[2], 'size': 64, 'scale': (0.1, 0.4), 'count': 4})
model = dict(
    momentum=dict(start=0.99, end=1.0),  # a short run needs a target that follows faster
    backbone=dict(depth=18),
    heads=dict(
        image=dict(
            # use_bn_in_head of the official code: without it all embeddings start in one narrow cone
            projector=dict(
                channels=(512, 512, 512, 32),
                norm=True,
                last_norm=True,
                bias=True,
                init='default',
                prototypes=512,
            ),
            objective=dict(prototypes=512),
            freeze=1,
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
        pipeline=[dict(type='MultiView', views=small, photometric_on='worker')],
    ),
)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.04),
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=1), collapse=dict(interval=20)
)
auto_scale_lr = dict(_delete_=True, base_batch_size=64, enable=False)
