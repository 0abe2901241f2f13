"""SimMIM with a ViT: model and view; configs/simmim/README.md has the source of each number."""

_base_ = ['../models/vit-base_beit.py']

model = dict(
    type='SharedPretrainer',
    data_preprocessor=dict(
        type='PretrainDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    heads=dict(
        pixels=dict(
            units='MaskedCells',
            projector=dict(type='ConvMLP', channels=(768, 16 * 16 * 3)),
            target=dict(type='Pixels', patch=16),
            objective=dict(type='Reconstruction', distance='absolute'),
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
        mask=dict(type='CellMask', patch=16, cell=32, ratio=0.6),
    )
]
