"""VQ-KD on ImageNet-1k, 512 images a step, 100 epochs; the README of configs/beit has the sources."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, betas=(0.9, 0.99), weight_decay=1e-4),  # 5e-5 * 512 / 128
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(
        rules=[dict(match='1d', decay_mult=0), dict(match='cls_token|pos_embed', decay_mult=0)]
    ),
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=1e-5 / 2e-4, warmup=10, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=100)
auto_scale_lr = dict(base_batch_size=512, enable=False)
