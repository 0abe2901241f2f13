"""UPerNet on BEiT's ViT-B/16, ADE20K, 160k iterations of 16 crops of 640.

    bash tools/dist_train.sh configs/segmentation/upernet_beit-base_ade20k.py 8 --pretrained CHECKPOINT

BEiT's recipe: AdamW 3e-5, weight decay 0.05 (none on norms and biases), every block 0.9 of the rate of the
one behind it; SimMIM's networks fit, too. Each block gets a copy of the pretrained table of relative
positions; a file that was fine-tuned has these already. The last map passes no norm, as in the official code.
"""

_base_ = 'mmseg::beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py'

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='densecl.TimmViT',
        arch='beit_base_patch16_224',
        use_rel_pos_bias=True,
        img_size=640,
        out_indices=(3, 5, 7, 11),
        output_cls_token=False,
        final_norm=False,
        drop_path=0.1,
    ),
)
decay = 0.9
optim_wrapper = dict(
    constructor='densecl.ParamGroupsConstructor',
    paramwise_cfg=dict(
        _delete_=True,
        rules=[
            dict(match=r'^backbone\.', layer_decay=decay, lr_mult=decay),
            dict(match='1d', decay_mult=0),
            dict(match=r'^backbone\.cls_token', decay_mult=0),
        ],
    ),
)
auto_scale_lr = dict(base_batch_size=16, enable=False)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
