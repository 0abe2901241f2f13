"""A slim Mask R-CNN on the bundled sample, for two CPU cores: some three minutes.

All objects are one class here: 121 photos and a few minutes teach where objects are, hardly which of
twelve kinds they are. With the kinds: drop `metainfo`, `ann_file` and `num_classes` below.
"""

_base_ = [
    'mmdet::_base_/default_runtime.py',
    '../_base_/models/mask-rcnn_r18_fpn_slim.py',
    '../_base_/datasets/sample_detection.py',
    '../_base_/schedules/finetune_slim.py',
]

metainfo = dict(_delete_=True, classes=('object',), palette=[(220, 20, 60)])
annotations = 'detection/annotations/objects_{}.json'
train_dataloader = dict(dataset=dict(ann_file=annotations.format('train'), metainfo=metainfo))
val_dataloader = dict(dataset=dict(ann_file=annotations.format('val'), metainfo=metainfo))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{_base_.data_root}/{annotations.format("val")}')
test_evaluator = val_evaluator
model = dict(roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)))

max_iters = 400
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min=0, by_epoch=False, begin=30, end=max_iters),
]
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(by_epoch=False, interval=max_iters),
)
log_processor = dict(by_epoch=False, window_size=20)
