"""A slim Faster R-CNN on BCCD (blood cells, boxes only), to compare initialisations on a CPU.

292 train / 72 val microscopy images of 320 x 240 pixels, 3 classes, as COCO json under data/bccd:
{train,val}/*.jpg and instances_{train,val}.json. A small, easy domain, unlike the photos that one
pretrains on. One run takes some three minutes on one core. Seeds: --cfg-options randomness.seed=0
"""

_base_ = './mask-rcnn_r18_fpn_small-coco.py'

data_root = 'data/bccd'
classes = ('Platelets', 'RBC', 'WBC')
metainfo = dict(_delete_=True, classes=classes, palette=[(220, 20, 60), (0, 0, 230), (0, 140, 60)])
image_scale = (320, 240)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
model = dict(
    type='FasterRCNN',
    roi_head=dict(
        type='StandardRoIHead',
        bbox_head=dict(num_classes=3),
        mask_roi_extractor=None,
        mask_head=None,
    ),
)
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='instances_train.json',
        metainfo=metainfo,
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file='instances_val.json', metainfo=metainfo, pipeline=test_pipeline
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{data_root}/instances_val.json', metric='bbox')
test_evaluator = val_evaluator
