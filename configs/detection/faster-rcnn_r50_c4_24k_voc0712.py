"""Faster R-CNN R50-C4 on VOC trainval 07+12, 24k iterations of 16 images; tested on VOC 2007.

The protocol of MoCo (He et al., CVPR 2020) and DenseCL. The fifth stage of the backbone works on the
regions and is `roi_head.shared_head.layer4` here: it must be filled from the pretrained layer4 too.
Deviations from their detectron2 config:
- they put one more BN behind res5; mmdet's C4 head has no place for it (res5's own BNs are SyncBN);
- no precise-BN pass before testing.
"""

_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py',
    'mmdet::_base_/datasets/voc0712.py',
    'mmdet::_base_/default_runtime.py',
]

norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    # the base has caffe's stem, channel order and scale; pretraining here is RGB with unit variance
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False, style='pytorch', init_cfg=None),
    roi_head=dict(
        shared_head=dict(norm_cfg=norm_cfg, norm_eval=False, style='pytorch', init_cfg=None),
        bbox_head=dict(num_classes=20),
    ),
    # proposals before / after NMS: training 12000 / 2000, test 6000 / 1000, as in the base
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='RandomChoiceResize',
        scales=[(1333, side) for side in range(480, 801, 32)],
        keep_ratio=True,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
voc = dict(
    type='VOCDataset',
    data_root='data/VOCdevkit/',
    filter_cfg=dict(filter_empty_gt=True),
    pipeline=train_pipeline,
)
train_dataloader = dict(
    batch_size=2,  # a GPU; 8 GPUs make the 16 of the recipe
    num_workers=4,
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        ignore_keys=['dataset_type'],  # VOC 2007 and 2012 differ in it
        datasets=[
            dict(
                ann_file=f'VOC{year}/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root=f'VOC{year}/'),
                **voc,
            )
            for year in (2007, 2012)
        ],
    ),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
# AP (mean over IoU .5 .. .95), AP50, AP75 as in the papers' tables
val_evaluator = dict(iou_thrs=[round(0.5 + 0.05 * i, 2) for i in range(10)])
test_evaluator = val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=24_000, val_interval=8_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', by_epoch=False, milestones=[18_000, 22_000], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=16, enable=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=8_000, max_keep_ckpts=2))
log_processor = dict(by_epoch=False)
