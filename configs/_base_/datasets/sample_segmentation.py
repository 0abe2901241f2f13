# The same photos as sample_detection.py with class maps: 0 background, 12 supercategories.
_base_ = []  # must stand before the import: tells mmengine that this is a plain config file

from densecl.sample import sample_root  # noqa: E402

dataset_type = 'mmseg.BaseSegDataset'
data_root = str(sample_root())
metainfo = dict(
    classes=(
        'background', 'person', 'vehicle', 'outdoor', 'animal', 'accessory', 'sports', 'kitchen',
        'food', 'furniture', 'electronic', 'appliance', 'indoor',
    ),
    palette=[
        [0, 0, 0], [220, 20, 60], [0, 0, 230], [250, 170, 30], [0, 140, 60], [160, 60, 200],
        [255, 120, 180], [0, 180, 200], [180, 200, 40], [140, 90, 40], [90, 120, 255],
        [120, 120, 120], [255, 220, 120],
    ],
)  # fmt: skip
image_scale = (320, 192)  # longest, shortest side
crop_size = (160, 160)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.9),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='LoadAnnotations'),  # after Resize, so that metrics use the original size of the map
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='detection/train', seg_map_path='segmentation/train'),
        metainfo=metainfo,
        img_suffix='.jpg',
        seg_map_suffix='.png',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='detection/val', seg_map_path='segmentation/val'),
        metainfo=metainfo,
        img_suffix='.jpg',
        seg_map_suffix='.png',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
