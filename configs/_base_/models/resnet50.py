"""ResNet-50 with torchvision's layout; every stage is trained; only C5 is returned."""

model = dict(
    data_preprocessor=dict(
        type='PretrainDataPreprocessor',
        mean=[123.675, 116.28, 103.53],  # RGB, 0..255
        std=[58.395, 57.12, 57.375],
    ),
    backbone=dict(
        type='mmdet.ResNet',
        depth=50,
        num_stages=4,
        out_indices=(3,),
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        style='pytorch',
        zero_init_residual=False,
    ),
)
