"""FCN R50 on VOC 2012 train_aug (10,582 images), 30k iterations of 16 crops of 513; tested on val.

    bash tools/dist_train.sh configs/segmentation/fcn_r50_voc12aug.py 4 --pretrained CHECKPOINT

The protocol of MoCo (He et al., CVPR 2020) and SlotCon. Deviation: scales are relative to a short side
of 512 pixels (mmseg's way) where MoCo scales the original image, here 375 at most.
"""

_base_ = [
    '../_base_/models/fcn_r50-d16.py',
    'mmseg::_base_/datasets/pascal_voc12_aug.py',
    'mmseg::_base_/default_runtime.py',
]

crop_size = (513, 513)
model = dict(data_preprocessor=dict(size=crop_size), decode_head=dict(num_classes=21))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=4,  # a GPU; 4 GPUs make the 16 of the recipe
    dataset=dict(
        datasets=[
            {**_base_.dataset_train, 'pipeline': train_pipeline},
            {**_base_.dataset_aug, 'pipeline': train_pipeline},
        ]
    ),
)

train_cfg = dict(type='IterBasedTrainLoop', max_iters=30_000, val_interval=10_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.003, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[21_000, 27_000], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=16, enable=False)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=10_000, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)
