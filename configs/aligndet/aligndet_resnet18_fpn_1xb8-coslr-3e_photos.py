"""AlignDet on some thousand photos of your own, on a small machine: ResNet-18 at 192 px, a slim detector.

The detector is that of configs/detection/faster-rcnn_r18_fpn-bn_4conv1fc-bn_bccd.py; its backbone is given
(--pretrained) and stays as it is. Pyramid, RPN and box head are trained.
"""

_base_ = ['../_base_/methods/aligndet.py', '../_base_/small_machine.py']

norm_cfg = dict(type='BN', requires_grad=True)
strides = [8, 16, 32, 64]
model = dict(
    momentum=dict(start=0.99, end=1.0),
    backbone=dict(depth=18, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 256, 512], out_channels=64, num_outs=4, norm_cfg=norm_cfg),
    heads=dict(
        proposals=dict(
            units=dict(levels=(0, 1, 2), thresholds=(56, 112, 224), proposals=2, candidates=200),
            projector=dict(
                rpn_head=dict(
                    in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4], strides=strides)
                ),
                box_head=dict(in_channels=64, conv_out_channels=64, fc_out_channels=256, norm_cfg=norm_cfg),
                channels=(256, 256, 128),
            ),
            objective=dict(objectives=[dict(_base_.contrast), dict(type='BoxRegression', samples=256)]),
        )
    ),
)
view = dict(_base_.view, size=192)
objects = dict(_base_.objects, count=8)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        # Made while the first epoch runs, and kept; or the store of tools/make_proposals.py.
        proposals=dict(
            type='Filtered',
            provider=dict(type='Cached', folder='data/cache', provider=dict(type='Felzenszwalb')),
            rules=_base_.rules,
            fallbacks=[],
        ),
        pipeline=[dict(_base_.multi_view, views=[view], regions=dict(objects=objects))],
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.02), clip_grad=dict(max_norm=10))
train_cfg = dict(max_epochs=3)
default_hooks = dict(collapse=dict(interval=50))
auto_scale_lr = dict(base_batch_size=8)
