"""PixPro on the four levels of a feature pyramid; a detector can start from the pyramid too."""

_base_ = ['pixpro_resnet50_8xb128-coslr-100e_in1k.py']

level = {
    **_base_.model.heads.pixel,
    'projector': dict(type='ConvMLP', channels=(256, 4096, 256), norm=True, bias=True),
    'loss_weight': 1.0,  # a quarter of the weight for each level
}
model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3)),
    # num_outs=4: a detector's fifth level is pooled from the fourth and has no weights.
    neck=dict(type='mmdet.FPN', in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=4),
    heads=dict(
        _delete_=True,
        # 56 x 56 cells would give 10 million pairs per image.
        p2=dict(level, units=dict(type='Cells', level=0, grid=28)),
        p3=dict(level, units=dict(type='Cells', level=1)),
        p4=dict(level, units=dict(type='Cells', level=2)),
        p5=dict(level, units=dict(type='Cells', level=3)),
    ),
)
