"""UPerNet on ViT-S/16, ADE20K, 160k iterations of 16 crops of 512; tested on val.

    bash tools/dist_train.sh configs/segmentation/upernet_vit-small_ade20k.py 8 --pretrained CHECKPOINT

mmseg's recipe for DeiT-S (AdamW 6e-5, weight decay .01, drop-path .1, linear decay), which resembles that
of BEiT, DINO and iBOT but has no layer-wise decay. After MoCo v3 add
`--cfg-options model.backbone.num_heads=12`. Against mmseg's config:
- `patch_bias`: its patch projection has no bias, so that the pretrained one would be lost;
- normalisations are not decayed; there the rule ('norm') misses mmseg's own names (`ln1`).
"""

_base_ = 'mmseg::vit/vit_deit-s16_mln_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    pretrained=None,
    backbone=dict(num_heads=6, patch_bias=True, norm_cfg=dict(type='LN', eps=1e-6)),
)
train_dataloader = dict(batch_size=2)  # a GPU; 8 GPUs make the 16 of the recipe
optim_wrapper = dict(
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys=dict(_delete_=True, pos_embed=dict(decay_mult=0.0), cls_token=dict(decay_mult=0.0)),
    )
)
auto_scale_lr = dict(base_batch_size=16, enable=False)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
