"""Dense distillation, 1,536 images a step, 100 epochs; the README of configs/distillation has the sources."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=1e-6),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, warmup=10, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=100)
auto_scale_lr = dict(base_batch_size=1536, rule='sqrt', enable=False)
