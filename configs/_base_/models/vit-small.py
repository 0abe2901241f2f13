"""ViT-S/16 as in DINO: 384 channels, 12 blocks, 6 heads, learned positions; see TimmViT for its levels.

Level -1 is the class token, for image heads. Level -2 is the patch map at stride 16.
"""

model = dict(
    data_preprocessor=dict(
        type='PretrainDataPreprocessor',
        mean=[123.675, 116.28, 103.53],  # RGB, 0..255
        std=[58.395, 57.12, 57.375],
    ),
    backbone=dict(
        type='TimmViT',
        arch='vit_small_patch16_224',
        num_heads=6,
        out_indices=(-1,),
        drop_path=0.1,
    ),
)
