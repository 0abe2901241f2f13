"""MAE: model and view; configs/mae/README.md has the source of each number."""

model = dict(
    type='SharedPretrainer',
    data_preprocessor=dict(
        type='PretrainDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    backbone=dict(
        type='TimmViT',
        arch='vit_base_patch16_224',
        hidden='dropped',
        pos_embed='sincos-mae',
        init='mae',
    ),
    heads=dict(
        pixels=dict(
            units='DecodedCells',
            projector=dict(
                type='TransformerDecoder',
                in_channels=768,
                out_channels=16 * 16 * 3,
                grid=14,
                embed_dim=512,
                depth=8,
                num_heads=16,
            ),
            target=dict(type='Pixels', patch=16, normalise=True),
            objective='Reconstruction',
            pairs=((0, 0),),
        )
    ),
)
views = [
    dict(
        count=1,
        size=224,
        scale=(0.2, 1.0),
        flip=0.5,
        interpolation='bicubic',
        mask=dict(type='RandomMask', patch=16, ratio=0.75),
    )
]
