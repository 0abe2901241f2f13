"""MoCo v2 on some thousand photos of your own, on a small machine: ResNet-18 at 96 px."""

_base_ = ['mocov2_resnet50_8xb32-coslr-200e_in1k.py']

epochs = 8
width = 512
model = dict(
    # A short run needs a target that follows faster, and a queue that is a part of the data.
    momentum=0.99,
    bn_groups=4,  # with shuffle_bn: what four devices with 16 images each would compute
    backbone=dict(depth=18),
    heads=dict(
        image=dict(projector=dict(channels=(width, width, 128)), objective=dict(queue=2048)),
    ),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        data_root='data/photos',
        pipeline=[dict(type='MultiView', views=[{**_base_.view, 'size': 96}])],
    ),
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=1))
