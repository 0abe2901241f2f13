"""BEiT on ImageNet-1k, 2,048 images a step, 800 epochs; the README of configs/beit has the sources."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=3.0),
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(rules=[dict(match='1d', decay_mult=0), dict(match='cls_token', decay_mult=0)]),
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=1e-5 / 1.5e-3, warmup=10, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=800)
auto_scale_lr = dict(base_batch_size=2048, enable=False)
