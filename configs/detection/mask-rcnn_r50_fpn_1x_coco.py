"""Mask R-CNN R50-FPN on COCO, 1x (90k iterations of 16 images): the fine-tuning protocol of the papers.

    bash tools/dist_train.sh configs/detection/mask-rcnn_r50_fpn_1x_coco.py 8 --pretrained CHECKPOINT

The recipe is the one that MoCo, DenseCL, PixPro, SoCo and InsLoc share (He et al., CVPR 2020, appendix):
every layer is trained (no frozen stage, BN not frozen) and SyncBN normalises backbone, FPN, box head
(4 convolutions, 1 linear layer) and mask head. SyncBN becomes BN where there is one process.
Deviations from their detectron2 configs: no precise-BN pass over 200 batches before testing, for
mmengine has none (`EMAHook` and the like do not replace it).
"""

_base_ = [
    '../_base_/models/mask-rcnn_r50_fpn-bn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/default_runtime.py',
]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='RandomChoiceResize',
        scales=[(1333, side) for side in range(640, 801, 32)],
        keep_ratio=True,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    batch_size=2,  # a GPU; 8 GPUs make the 16 of the recipe
    num_workers=4,
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(pipeline=train_pipeline),
)

train_cfg = dict(type='IterBasedTrainLoop', max_iters=90_000, val_interval=30_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, milestones=[60_000, 80_000], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=16, enable=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=10_000, max_keep_ckpts=2))
log_processor = dict(by_epoch=False)
