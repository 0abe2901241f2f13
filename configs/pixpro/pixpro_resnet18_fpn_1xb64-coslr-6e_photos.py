"""PixPro on a feature pyramid, on a small machine: for the slim Mask R-CNN of this repository."""

_base_ = ['pixpro_resnet18_1xb64-coslr-6e_photos.py']

level = {
    **_base_.model.heads.pixel,
    'projector': {**_base_.model.heads.pixel.projector, 'channels': (64, 512, 128)},
    'loss_weight': 4 / 3,  # a third of the weight for each level
}
model = dict(
    backbone=dict(out_indices=(1, 2, 3), strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1)),
    neck=dict(
        type='mmdet.FPN',
        in_channels=[128, 256, 512],
        out_channels=64,
        num_outs=3,
        norm_cfg=dict(type='BN', requires_grad=True),
    ),
    heads=dict(
        _delete_=True,
        p3=dict(level, units=dict(type='Cells', level=0)),  # 12 x 12 cells
        p4=dict(level, units=dict(type='Cells', level=1)),
        p5=dict(level, units=dict(type='Cells', level=2)),
    ),
)
