"""SoCo without a pyramid, 100 epochs of ImageNet: regions are pooled from C4 and pass the last stage."""

_base_ = ['soco_resnet50_fpn_16xb128-coslr-100e_in1k.py']

stage = dict(type='mmdet.ResLayer', depth=50, norm_cfg=dict(type='BN', requires_grad=True), norm_eval=False)
model = dict(
    # The fourth stage is in the head; an export puts it back into the backbone.
    backbone=dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,)),
    neck=None,
    heads=dict(
        objects=dict(
            units=dict(levels=(0,), thresholds=(224,), bins=14),
            projector=dict(
                _delete_=True,
                type='StageProjector',
                stage=stage,
                zero_init_residual=True,
                channels=(2048, 4096, 256),
                norm=True,
                bias=True,
            ),
            pairs=((0, 1), (1, 0)),
            loss_weight=4.0,  # -2 cos over two pairs
        )
    ),
)
views = [_base_.view1, dict(_base_.view2, scale=(0.6, 1.0))]
# The official scripts have a jitter of 0.1, which the C4 data set never applies.
objects = dict(_base_.objects, jitter=0.0, cutout=dict(_base_.objects['cutout'], views=(1,)))
train_dataloader = dict(
    dataset=dict(pipeline=[dict(type='MultiView', views=views, regions=dict(objects=objects))])
)
