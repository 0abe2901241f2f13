"""NeCo on COCO, 64 images a step, 25 epochs; the README of configs/neco has the sources."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.04),  # learning rate of the heads
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(
        rules=[dict(match=r'^backbone\.', lr_mult=0.1), dict(match='1d', decay_mult=0)],
    ),
)
param_scheduler = [
    dict(type='ParamSchedule', param_name='lr', factor=dict(start=1, end=0), convert_to_iter_based=True),
    dict(
        type='ParamSchedule',
        param_name='weight_decay',
        value=dict(start=0.04, end=0.5),
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='PretrainLoop', max_epochs=25)
auto_scale_lr = dict(base_batch_size=64, enable=False)
