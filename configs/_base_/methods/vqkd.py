"""VQ-KD, the tokenizer of BEiT v2: model and view; configs/beit/README.md has the source of each number."""

vit = dict(type='TimmViT', arch='vit_base_patch16_224', init='beit', output_cls_token=False)
model = dict(
    type='SharedPretrainer',
    data_preprocessor=dict(type='PretrainDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3),
    backbone=vit,
    heads=dict(
        features=dict(
            units='QuantizedCells',
            projector=dict(
                type='QuantizedDecoder',
                quantizer=dict(channels=768, codes=8192, dim=32, decay=0.99),
                decoder=dict(vit, patch_size=1, in_chans=32, img_size=14, depth=1),
                output=dict(type='ConvMLP', channels=(768, 768, 768), activation='Tanh', init='trunc_normal'),
            ),
            target=dict(
                type='TeacherFeatures',
                backbone=dict(type='TimmViT', arch='vit_base_patch16_224', output_cls_token=False),  # DINO's
                channels=768,
                patch=16,
                stride=16,
                file='data/tokens/teacher_dino-vit-base.pth',
            ),
            objective=dict(type='Sum', objectives=[dict(type='Cosine'), dict(type='Commitment')]),
            pairs=((0, 0),),
        )
    ),
)
views = [dict(count=1, size=224, scale=(0.08, 1.0), flip=0.5, interpolation='bicubic')]
