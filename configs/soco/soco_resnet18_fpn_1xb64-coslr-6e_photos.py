"""SoCo on some thousand photos of your own, on a small machine: ResNet-18 at 96 px, a slim pyramid.

Backbone, pyramid and box head are those of configs/detection/faster-rcnn_r18_fpn-bn_4conv1fc-bn_bccd.py.
"""

_base_ = ['../_base_/methods/soco.py', '../_base_/small_machine.py']

model = dict(
    momentum=dict(start=0.97, end=1.0),  # a short run needs a target that follows faster
    backbone=dict(depth=18, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 256, 512], out_channels=64, num_outs=3),
    heads=dict(
        objects=dict(
            # thresholds: the shares of the view that part the official upper levels
            units=dict(levels=(0, 1, 2), thresholds=(41, 82, 96)),
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
views = [dict(v, size=size) for v, size in zip(_base_.views, (96, 96, 48), strict=True)]
train_dataloader = dict(
    dataset=dict(
        # Without tools/make_proposals.py: this in place of the store, made while the first epoch runs
        # proposals=dict(type='Filtered', provider=dict(type='Cached', folder='data/cache', provider=dict(
        #     type='SelectiveSearch', strategy='single', scale=300, sigma=0.9, short_side=640))),
        proposals=dict(type='ProposalStore', path='data/proposals'),
        pipeline=[dict(_base_.multi_view, views=views, regions=dict(objects=_base_.objects))],
    )
)
optim_wrapper = dict(optimizer=dict(lr=0.03))
