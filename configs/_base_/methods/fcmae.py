"""FCMAE: model and view; configs/fcmae/README.md has the source of each number."""

model = dict(
    type='SharedPretrainer',
    data_preprocessor=dict(
        type='PretrainDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    backbone=dict(type='TimmBackbone', model_name='convnextv2_tiny', out_indices=(3,)),
    heads=dict(
        pixels=dict(
            units='DecodedCells',
            projector=dict(
                type='ConvNeXtDecoder', in_channels=768, out_channels=32 * 32 * 3, embed_dim=512, depth=1
            ),
            target=dict(type='Pixels', patch=32, normalise=True),
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
        mask=dict(type='RandomMask', patch=32, ratio=0.6),
    )
]
