"""ReSim on some thousand photos of your own, on a small machine: ResNet-18 at 96 px.

Windows and strides are half the official ones: 25 of 24 px on P4 (6 x 6 cells), 49 of 16 px on P3 (12 x 12).
"""

_base_ = ['resim-fpn_resnet50_8xb32-coslr-200e_in1k.py']

epochs = 6
projector = dict(channels=(512, 512, 128), norm=True, last_norm=True)
model = dict(
    # See configs/mocov2's small recipe for the momentum, the queue and the norms.
    momentum=0.99,
    bn_groups=4,  # with shuffle_bn: the statistics are those of four devices, 16 images each
    backbone=dict(depth=18, out_indices=(1, 2, 3)),
    # The tensors that the neck of the slim Mask R-CNN of this repository has for these levels.
    neck=dict(in_channels=(128, 256, 512), out_channels=64, levels=(0, 1), norm=True),
    heads=dict(
        image=dict(projector=projector, objective=dict(queue=1024)),
        p4=dict(window=24, stride=16),
        p3=dict(window=16, stride=12),
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
optim_wrapper = dict(optimizer=dict(lr=0.06))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=1), collapse=dict(interval=20)
)
auto_scale_lr = dict(base_batch_size=64)
