"""SoCo* on a feature pyramid, 400 epochs of ImageNet: a fourth view, a larger third one, no cutout."""

_base_ = ['soco_resnet50_fpn_16xb128-coslr-100e_in1k.py']

model = dict(
    heads=dict(
        objects=dict(
            pairs=((0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (3, 0)),
            loss_weight=12.0,  # -2 cos over six pairs
        )
    )
)
# The fourth view shows the same crop as the second, at half the size.
views = [
    _base_.view1,
    _base_.view2,
    dict(_base_.view2, size=192),
    dict(_base_.view2, size=112, crop_of=1),
]
objects = dict(_base_.objects, cutout=None)
train_dataloader = dict(
    dataset=dict(pipeline=[dict(type='MultiView', views=views, regions=dict(objects=objects))])
)
train_cfg = dict(max_epochs=400)
