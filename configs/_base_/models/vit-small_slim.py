"""A ViT for a small machine: 4 blocks of 192 channels and 3 heads, patches of 16 in 96-pixel images.

For MoCo v3 add pos_embed='sincos', freeze_patch_embed=True, init='mocov3', drop_path=0.0.
"""

_base_ = './vit-small.py'

model = dict(backbone=dict(num_heads=3, embed_dim=192, depth=4, img_size=96))
