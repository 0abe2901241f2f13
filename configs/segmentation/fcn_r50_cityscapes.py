"""FCN R50 on Cityscapes (2,975 fine images), 90k iterations of 16 crops of 769; tested on val.

    bash tools/dist_train.sh configs/segmentation/fcn_r50_cityscapes.py 8 --pretrained CHECKPOINT

The protocol of MoCo (He et al., CVPR 2020) and SlotCon; testing on the whole image of 2048x1024.
"""

_base_ = [
    '../_base_/models/fcn_r50-d16.py',
    'mmseg::_base_/datasets/cityscapes.py',
    'mmseg::_base_/default_runtime.py',
]

crop_size = (769, 769)
model = dict(data_preprocessor=dict(size=crop_size), decode_head=dict(num_classes=19))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=2,  # a GPU; 8 GPUs make the 16 of the recipe
    num_workers=4,
    dataset=dict(pipeline=train_pipeline),
)

train_cfg = dict(type='IterBasedTrainLoop', max_iters=90_000, val_interval=30_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[63_000, 81_000], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=16, enable=False)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=10_000, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)
