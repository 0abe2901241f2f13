"""UPerNet on MAE's ViT-B/16, ADE20K, 160k iterations of 16 crops of 512.

    bash tools/dist_train.sh configs/segmentation/upernet_vit-base-mae_ade20k.py 8 \
        --amp --pretrained CHECKPOINT

MAE's recipe by mmseg: AdamW 1e-4, weight decay 0.05 (none on norms and biases), every block 0.65 of the
rate of the one behind it, linear warm-up of 1,500 iterations, then linear decay. Positions are the
pretrained fixed ones, resized; the official fine-tuning adds relative ones that start at 0. The last map
passes no norm, as in the official code.
"""

_base_ = 'mmseg::mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='densecl.TimmViT',
        arch='vit_base_patch16_224',
        img_size=512,
        out_indices=(3, 5, 7, 11),
        output_cls_token=False,
        final_norm=False,
        drop_path=0.1,
    ),
)
decay = 0.65
optim_wrapper = dict(
    constructor='densecl.ParamGroupsConstructor',
    paramwise_cfg=dict(
        _delete_=True,
        rules=[
            dict(match=r'^backbone\.', layer_decay=decay, lr_mult=decay),
            dict(match='1d', decay_mult=0),
            dict(match=r'^backbone\.(pos_embed|cls_token)', decay_mult=0),
        ],
    ),
)
auto_scale_lr = dict(base_batch_size=16, enable=False)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
