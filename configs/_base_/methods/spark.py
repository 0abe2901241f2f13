"""SparK: model and view; configs/spark/README.md has the source of each number."""

sync_bn = 'torch'
model = dict(
    type='SharedPretrainer',
    data_preprocessor=dict(
        type='PretrainDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    backbone=dict(
        type='TimmBackbone', model_name='resnet50', out_indices=(1, 2, 3, 4), drop_path_rate=0.05
    ),
    heads=dict(
        pixels=dict(
            units='DecodedCells',
            projector=dict(type='UNetDecoder', channels=(256, 512, 1024, 2048), patch=32, width=768),
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
        scale=(0.67, 1.0),
        flip=0.5,
        interpolation='bicubic',
        mask=dict(type='RandomMask', patch=32, ratio=0.6, rounding='round'),
    )
]
