"""DIP on COCO, 384 images a step, 5 epochs; the README of configs/dip has the sources."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2.25e-7, betas=(0.9, 0.95), weight_decay=0.05),  # 1.5e-7 * 384 / 256
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(rules=[dict(match='1d', decay_mult=0)]),
)
param_scheduler = [
    dict(type='ParamSchedule', param_name='lr', factor=dict(start=1, end=0), convert_to_iter_based=True)
]
train_cfg = dict(type='PretrainLoop', max_epochs=5)
auto_scale_lr = dict(base_batch_size=384, enable=False)
