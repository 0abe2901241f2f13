# Bundled COCO photos, 121 train / 31 val images, objects in the 12 COCO supercategories.
_base_ = []  # must stand before the import: tells mmengine that this is a plain config file

from densecl.sample import sample_root  # noqa: E402

dataset_type = 'mmdet.CocoDataset'
data_root = str(sample_root())
metainfo = dict(
    classes=(
        'person', 'vehicle', 'outdoor', 'animal', 'accessory', 'sports', 'kitchen', 'food',
        'furniture', 'electronic', 'appliance', 'indoor',
    ),
    palette=[
        (220, 20, 60), (0, 0, 230), (250, 170, 30), (0, 140, 60), (160, 60, 200), (255, 120, 180),
        (0, 180, 200), (180, 200, 40), (140, 90, 40), (90, 120, 255), (120, 120, 120),
        (255, 220, 120),
    ],
)  # fmt: skip
image_scale = (256, 176)  # longest, shortest side

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),  # no batch mixes portrait and landscape: less padding
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='detection/annotations/instances_train.json',
        data_prefix=dict(img='detection/train/'),
        metainfo=metainfo,
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='detection/annotations/instances_val.json',
        data_prefix=dict(img='detection/val/'),
        metainfo=metainfo,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoMetric',
    ann_file=data_root + '/detection/annotations/instances_val.json',
    metric=['bbox', 'segm'],
    format_only=False,
)
test_evaluator = val_evaluator
