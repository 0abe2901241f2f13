"""Mask R-CNN on ViTDet's ViT-B from MAE on COCO: the recipe of the paper, 100 epochs of 64 images.

    bash tools/dist_train.sh configs/detection/mask-rcnn_vitdet-base-mae_100e_coco.py 8 \
        --amp --pretrained CHECKPOINT

README.md here says where each number is from. Where memory is short:
`--cfg-options model.backbone.checkpoint_activations=True`.
"""

_base_ = './mask-rcnn_vit-small_simple-pyramid_100e_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='densecl.ViTDet',
        arch='vit_base_patch16_224',
        img_size=1024,
        window=14,
        global_blocks=(2, 5, 8, 11),
        relative_positions=True,
        drop_path=0.1,
    ),
    neck=dict(in_channels=768),
)

# block i of 12 learns decay^(12 - i) as fast as the heads; a longer key goes first
scales = {f'backbone.blocks.{i}.': _base_.decay ** (_base_.depth - i) for i in range(_base_.depth)}
custom_keys = {key: dict(lr_mult=scale) for key, scale in scales.items()}
custom_keys.update({f'{k}norm': dict(lr_mult=s, decay_mult=0.0) for k, s in scales.items()})
first = _base_.decay ** (_base_.depth + 1)
custom_keys.update(
    {
        'backbone.patch_embed': dict(lr_mult=first),
        'backbone.pos_embed': dict(lr_mult=first, decay_mult=0.0),
    }
)
optim_wrapper = dict(
    paramwise_cfg=dict(_delete_=True, norm_decay_mult=0.0, custom_keys=custom_keys),
)
