"""CLIP: 32 epochs of 400 million pairs, 32,768 a step; the README of configs/clip has the sources."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2),
    constructor='ParamGroupsConstructor',
    # No weight decay for gains, biases and the scale of the logits.
    paramwise_cfg=dict(rules=[dict(match='1d', decay_mult=0), dict(match='log_scale', decay_mult=0)]),
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, warmup=2000, unit='step'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=32)
auto_scale_lr = dict(base_batch_size=32768, enable=False)
