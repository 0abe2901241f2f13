"""SoCo on some thousand photos of your own, on a small machine: ResNet-18 at 96 px, a slim pyramid.

Backbone, pyramid and box head are those of configs/detection/faster-rcnn_r18_fpn-bn_4conv1fc-bn_bccd.py.
"""

_base_ = ['soco_resnet50_fpn_16xb128-coslr-100e_in1k.py']

epochs = 6
model = dict(
    momentum=dict(start=0.97, end=1.0),  # a short run needs a target that follows faster
    backbone=dict(depth=18, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 256, 512], out_channels=64, num_outs=3),
    heads=dict(
        objects=dict(
            levels=(0, 1, 2),
            thresholds=(41, 82, 96),  # the shares of the view that part the official upper levels
            projector=dict(
                in_channels=64,
                conv_channels=64,
                fc=256,
                # Batch norm at the end, as in PixPro's small recipe: SGD lets the projections collapse.
                channels=(256, 512, 128),
                last_norm=True,
                bias=(True, False),
            ),
            predictor=dict(channels=(128, 512, 128)),
        )
    ),
)
view1, view2 = dict(_base_.view1, size=96), dict(_base_.view2, size=96)
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        data_root='data/photos',
        # Without tools/make_proposals.py, made while the first epoch runs:
        # proposals=dict(_delete_=True, type='Filtered', provider=dict(
        #     type='Cached', folder='data/cache', provider=dict(
        #         type='SelectiveSearch', strategy='single', scale=300, sigma=0.9, short_side=640))),
        # Without a GPU to do it, colour operators are faster on uint8 in the worker; the views are the same.
        pipeline=[
            dict(
                type='MultiView',
                views=[view1, view2, dict(view2, size=48)],
                proposals=_base_.objects,
                photometric_on='worker',
            )
        ],
    ),
)
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
