"""DetCo on some thousand photos of your own, on a small machine: ResNet-18 at 96 px, patches at 32 px."""

_base_ = ['detco_resnet50_8xb32-coslr-200e_in1k.py']

epochs = 6
model = dict(
    # A short run needs a target that follows faster, and queues that are a part of the data. It has no time
    # either for what projectors without batch norm do first: move all embeddings, which start in one narrow
    # cone, off their common direction. MoCo v3's norms do that at once.
    momentum=0.99,
    bn_groups=4,  # with shuffle_bn: the backbone's statistics are those of four devices, 16 images each
    backbone=dict(depth=18),
    heads=dict(
        detco=dict(
            projector=dict(
                channels=(64, 128, 256, 512),
                hidden=(64, 128, 256, 512),
                local_hidden=512,
                norm=True,
                last_norm=True,
            ),
            objective=dict(queue=1024),
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
                views=[
                    {**_base_.view, 'size': 96},
                    {**_base_.patches, 'resize': 129, 'cell': 43, 'patch': 32},
                ],
                photometric_on='worker',
            )
        ],
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.02))  # the weights of the twelve terms sum to 6.6
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, eta_min=0, by_epoch=True)]
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=1), collapse=dict(interval=20)
)
auto_scale_lr = dict(base_batch_size=64)
