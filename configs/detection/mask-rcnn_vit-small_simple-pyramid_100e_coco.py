"""Mask R-CNN on ViT-S/16 with a simple feature pyramid on COCO: ViTDet's recipe, 100 epochs of 64 images.

    bash tools/dist_train.sh configs/detection/mask-rcnn_vit-small_simple-pyramid_100e_coco.py 8 \
        --amp --pretrained CHECKPOINT

Large-scale jitter (0.1 to 2) on 1024 pixels; AdamW 1e-4, weight decay .1 (none on normalisations and
positions), layer-wise decay .7 and drop-path .1 (the paper's for ViT-B; it has no ViT-S), steps at 8/9
and 26/27 of 184,375 iterations. After MoCo v3 add `--cfg-options model.backbone.num_heads=12`.
"""

_base_ = ['mmdet::common/lsj-100e_coco-instance.py', '../_base_/models/mask-rcnn_vit-small_simple-pyramid.py']

image_size = (1024, 1024)
depth, decay = 12, 0.7
model = dict(
    data_preprocessor=dict(
        batch_augments=[dict(type='BatchFixedSizePad', size=image_size, img_pad_value=0, pad_mask=True)]
    )
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_size, keep_ratio=True),
    dict(type='Pad', size=image_size, pad_val=dict(img=(114, 114, 114))),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=8,  # a GPU; 8 GPUs make the 64 of the recipe
    num_workers=8,
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(
        _delete_=True,
        type='CocoDataset',
        data_root='data/coco/',
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=_base_.train_pipeline,
    ),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# block i of 12 learns decay^(12 - i) as fast as the heads; a longer key goes first
scales = {f'backbone.layers.{i}.': decay ** (depth - i) for i in range(depth)}
custom_keys = {key: dict(lr_mult=scale) for key, scale in scales.items()}
custom_keys.update({f'{k}ln': dict(lr_mult=s, decay_mult=0.0) for k, s in scales.items()})
first = decay ** (depth + 1)
custom_keys.update(
    {
        'backbone.patch_embed': dict(lr_mult=first),
        'backbone.cls_token': dict(lr_mult=first, decay_mult=0.0),
        'backbone.pos_embed': dict(lr_mult=first, decay_mult=0.0),
    }
)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys=custom_keys),
)
max_iters = 184_375
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=20_000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(type='MultiStepLR', by_epoch=False, milestones=[163_889, 177_546], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=64, enable=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=10_000, max_keep_ckpts=2))
log_processor = dict(by_epoch=False)
