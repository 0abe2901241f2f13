"""SetSim on some thousand photos of your own, on a small machine: ResNet-18 at 96 px, 6 x 6 cells."""

_base_ = ['setsim_resnet50_8xb64-coslr-200e_in1k.py']

epochs = 6
projector = dict(channels=(512, 512, 128), norm=True, last_norm=True)
model = dict(
    # As MoCo v2's small recipe: a faster target, a shorter queue, norms in the projectors.
    momentum=0.99,
    bn_groups=4,
    # C5 at stride 16, as FCN uses it: 6 x 6 cells, where stride 32 leaves 3 x 3.
    backbone=dict(depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    heads=dict(
        image=dict(projector=projector, objective=dict(queue=1024)),
        sets=dict(projector=projector, objective=dict(queue=1024)),
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
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=1), collapse=dict(interval=20)
)
auto_scale_lr = dict(base_batch_size=64)
