"""Dense distillation: model and view; configs/distillation/README.md has the source of each number."""

_base_ = ['../models/resnet50.py']

model = dict(
    type='SharedPretrainer',
    heads=dict(
        cells=dict(
            units=dict(type='Cells', grid=7),
            projector=dict(type='ConvMLP', channels=(2048, 768), bias=True),
            target=dict(
                type='TeacherFeatures',
                backbone=dict(
                    type='TimmViT', arch='vit_base_patch14_dinov2', img_size=518, output_cls_token=False
                ),
                channels=768,
                patch=16,
                stride=14,  # it sees 196 px of 224
                start='data/weights/dinov2_vitb14_pretrain.pth',
            ),
            objective=dict(
                type='Sum',
                objectives=[
                    dict(type='QueueDistillation', dim=768, queue=8192),
                    dict(type='SimilarityRows', temperature=0.07),
                ],
            ),
            pairs=((0, 0),),
        )
    ),
)
photometric = dict(
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    jitter_prob=0.8,
    gray_prob=0.2,
    blur_prob=0.5,
    blur_sigma=(0.1, 2.0),
)
views = [
    dict(count=1, size=224, scale=(0.14, 1.0), flip=0.5, interpolation='bicubic', photometric=photometric)
]
