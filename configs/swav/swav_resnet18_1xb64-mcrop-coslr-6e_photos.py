"""SwAV on some thousand photos of your own, on a small machine: ResNet-18, 2 x 96 + 4 x 64 px."""

_base_ = ['swav_resnet50_64xb64-mcrop-coslr-800e_in1k.py']

epochs = 6
# Milder crops: 5 % of a photo at 64 px show too little to learn from in so short a run.
global_view = {**_base_.global_view, 'size': 96, 'scale': (0.3, 1.0)}
local_view = {**_base_.local_view, 'size': 64, 'scale': (0.1, 0.4), 'count': 4}
model = dict(
    data_preprocessor=dict(std=(58.395, 57.12, 57.375)),
    backbone=dict(depth=18),
    heads=dict(
        image=dict(
            # Far more prototypes than dimensions, as on ImageNet: no point is equally far from all of
            # them. The last norm spreads the embeddings from the start.
            projector=dict(channels=(512, 512, 32), last_norm=True, prototypes=256),
            # Sharper codes: at 0.05 those of 64 images soon are all alike.
            objective=dict(epsilon=0.02),
            freeze=1,
            freeze_unit='epoch',
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
            dict(type='MultiView', views=[global_view, local_view], photometric_on='worker')
        ],
    ),
)
# LARC is for thousands of images a step.
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-4),
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=1), collapse=dict(interval=20)
)
auto_scale_lr = dict(_delete_=True, base_batch_size=64, enable=False)
