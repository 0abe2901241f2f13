"""CAPI: model and view; configs/capi/README.md has the source of each number."""

clusters = 16384
# The run ends after 0.8 of a half cosine, so the rise and the fall are not complete.
cosine = dict(warmup=50000, warmup_inclusive=True, duration=450000 / 0.8, unit='step')
model = dict(
    type='MomentumPretrainer',
    momentum=dict(start=0.999, end=1.0, warmup_start=1.0, **cosine),
    data_preprocessor=dict(
        type='PretrainDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    backbone=dict(
        type='TimmViT',
        arch='vit_large_patch14_capi',
        hidden='dropped',
        init='capi',
        drop_path=0.2,
        drop_path_law='subset',
    ),
    heads=dict(
        clusters=dict(
            target='features',
            units=dict(type='AskedCells', level=-2),
            projector=dict(
                type='CrossAttentionPredictor',
                in_channels=1024,
                clusters=clusters,
                embed_dim=1024,
                depth=12,
                num_heads=16,
                drop_path=0.2,
            ),
            objective=dict(type='OnlineClusters', dim=1024, clusters=clusters),
            pairs=((0, 0),),
        )
    ),
)
views = [
    dict(
        count=1,
        size=224,
        scale=(0.6, 1.0),
        flip=0.5,
        interpolation='bicubic',
        mask=dict(type='InverseBlockMask', patch=14, ratio=0.65, asked=0.05),
    )
]
