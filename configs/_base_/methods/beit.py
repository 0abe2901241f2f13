"""BEiT with k-means tokens: model and view; configs/beit/README.md has the source of each number."""

_base_ = ['../models/vit-base_beit.py']

model = dict(
    type='SharedPretrainer',
    data_preprocessor=dict(type='PretrainDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3),
    heads=dict(
        codes=dict(
            units='MaskedCells',
            projector=dict(type='ConvMLP', channels=(768, 8192), init='trunc_normal'),
            target=dict(
                type='KMeansTokens',
                backbone=dict(type='TimmViT', arch='vit_base_patch16_224', output_cls_token=False),  # DINO's
                channels=768,
                codes=8192,
                patch=16,
                stride=16,
                file='data/tokens/beit_dino-vit-base.pth',
            ),
            objective='CodeCrossEntropy',
            pairs=((0, 0),),
        )
    ),
)
views = [
    dict(
        count=1,
        size=224,
        scale=(0.08, 1.0),
        flip=0.5,
        interpolation='bicubic',
        mask=dict(type='BlockMask', patch=16, count=75),
    )
]
