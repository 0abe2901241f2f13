"""The text of a fine-tuning config; names that a user may want to change come first."""

HEAD = '''"""{title}, on {data}, from {start}.

Written by densecl {version}; edit it as you like.

python tools/train.py {path}
python tools/test.py {path} CHECKPOINT --show-dir pictures

{settings}
"""

_base_ = {base}

'''

TRAINING = """
custom_hooks = [
    dict(type='densecl.PretrainedHook', checkpoint=weights),
    dict(type='densecl.HeadsFirstHook', iters=heads_first, norm_eval=norm_eval),
]
optim_wrapper = dict(
    type={wrapper!r},
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.05),
    clip_grad=dict(max_norm=10, norm_type=2),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=backbone_lr_mult))),
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=max(max_iters // 20, 1)),
    dict(type='CosineAnnealingLR', eta_min=0, by_epoch=False, begin=max(max_iters // 20, 1), end=max_iters),
]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20, log_metric_by_epoch=False),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=val_interval,
        max_keep_ckpts=1,
        save_best='{figure}',
        rule='greater',
    ),
)
log_processor = dict(by_epoch=False, window_size=20)
randomness = dict(seed=seed)
"""

DETECTION = """
model = dict(
    type='{detector}',
    data_preprocessor=dict(
        {preprocessor}, mean={mean}, std={std}, pad_mask={masks}, pad_size_divisor=32
    ),
    backbone={backbone},
    neck={neck},{rpn}
    roi_head=dict({regions}bbox_head=dict(num_classes=len(classes)), {mask_head}),
)
train_pipeline = [
    {load},
    dict(type='LoadAnnotations', with_bbox=True, with_mask={masks}),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    {load},
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask={masks}),  # at the size of the original
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
dataset = dict(type='CocoDataset', metainfo=dict(classes=classes, palette=palette))
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        ann_file=train_file,
        data_prefix=dict(img=train_images),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
        **dataset,
    ),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        ann_file=val_file,
        data_prefix=dict(img=val_images),
        test_mode=True,
        pipeline=test_pipeline,
        **dataset,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file=val_file, metric={metric})
test_evaluator = val_evaluator
"""

SEMANTIC = """
model = dict(
    data_preprocessor=dict({preprocessor}, mean={mean}, std={std}, size=crop_size, seg_pad_val=255),
    backbone={backbone},
    decode_head=dict(in_channels={channels}, in_index=0, num_classes=len(classes)),
)
train_pipeline = [
    {load},
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.9),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    {load},
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='LoadAnnotations'),  # at the size of the original
    dict(type='PackSegInputs'),
]
dataset = dict(
    type='BaseSegDataset',
    metainfo=dict(classes=classes, palette=palette),
    img_suffix={suffixes[0]!r},
    seg_map_suffix={suffixes[1]!r},
)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        ann_file=train_file,
        data_prefix=dict(img_path=train_images, seg_map_path=train_labels),
        pipeline=train_pipeline,
        **dataset,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=num_workers,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        ann_file=val_file,
        data_prefix=dict(img_path=val_images, seg_map_path=val_labels),
        pipeline=test_pipeline,
        **dataset,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
"""
