"""A small stock UPerNet on a ViT for a CPU; the backbone is that of vit-small_slim.py.

Differences from mmseg's upernet_vit-b16_ln_mln: 4 blocks of 192 channels, each used as one level; 48 channels
in neck and head; BN, not SyncBN, as it is for one process.
"""

_base_ = 'mmseg::_base_/models/upernet_vit-b16_ln_mln.py'

channels = 48
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    pretrained=None,
    backbone=dict(
        img_size=(160, 160),
        embed_dims=192,
        num_layers=4,
        num_heads=3,
        out_indices=(0, 1, 2, 3),
        patch_bias=True,  # mmseg's default has no bias in the patch projection
    ),
    neck=dict(in_channels=4 * [192], out_channels=channels),
    decode_head=dict(
        in_channels=4 * [channels],
        channels=channels,
        dropout_ratio=0.0,
        norm_cfg=norm_cfg,
    ),
    auxiliary_head=None,
)
