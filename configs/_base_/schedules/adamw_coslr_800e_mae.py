"""MAE on ImageNet, 4,096 images a step, 800 epochs; the README of configs/mae has the sources."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2.4e-3, betas=(0.9, 0.95), weight_decay=0.05),  # 1.5e-4 * 4096 / 256
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(rules=[dict(match='1d', decay_mult=0)]),
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, warmup=40, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=800)
auto_scale_lr = dict(base_batch_size=4096, enable=False)
