"""ViT-S/16 as in MoCo v3: 12 heads, fixed sin-cos positions, frozen patch projection, Xavier weights."""

_base_ = './vit-small.py'

model = dict(
    backbone=dict(
        num_heads=12,  # DINO's and timm's have 6; no tensor's shape shows the number
        pos_embed='sincos',
        freeze_patch_embed=True,
        init='mocov3',
        drop_path=0.0,
    )
)
