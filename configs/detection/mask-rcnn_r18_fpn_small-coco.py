"""A slim Mask R-CNN on a few hundred photos, to compare initialisations on a CPU.

430 train / 116 val COCO photos with a short side of 256 pixels, objects under the 12 supercategories:
data/small-coco/{train,val}/*.jpg and instances_{train,val}_super12.json (file_name: train/<id>.jpg).
For your own small set set `data_root`, `ann_file`, `metainfo` and `num_classes` in a copy of this file.
One run takes some four minutes on one core. Seeds: --cfg-options randomness.seed=0
"""

_base_ = [
    'mmdet::_base_/default_runtime.py',
    '../_base_/models/mask-rcnn_r18_fpn_slim.py',
    '../_base_/datasets/sample_detection.py',
    '../_base_/schedules/finetune_slim.py',
]

data_root = 'data/small-coco'
val_file = 'instances_val_super12.json'
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='instances_train_super12.json',
        data_prefix=dict(_delete_=True, img=''),
    )
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file=val_file, data_prefix=dict(_delete_=True, img=''))
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{data_root}/{val_file}')
test_evaluator = val_evaluator

max_iters = 260
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min=0, by_epoch=False, begin=30),
]
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(by_epoch=False, interval=max_iters),
)
log_processor = dict(by_epoch=False, window_size=20)
randomness = dict(seed=0)
