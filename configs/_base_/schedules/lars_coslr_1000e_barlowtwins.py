"""Barlow Twins on ImageNet (2,048 images a step), 1000 epochs; numbers of the official main.py."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='LARS',
        variant='popular',
        lr=1.6,  # learning_rate_weights: 0.2 * 2048 / 256
        momentum=0.9,
        weight_decay=1e-6,  # code; the paper has 1.5e-6
    ),
    constructor='ParamGroupsConstructor',
    # learning_rate_biases: 0.0048 * 2048 / 256 for biases and norms, without decay and adaptation
    paramwise_cfg=dict(rules=[dict(match='1d', lr_mult=0.024, decay_mult=0, adapt=False)]),
)
# adjust_learning_rate: per step, 10 epochs from 0, then cosine to a thousandth
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0.001, warmup=10, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=1000)
auto_scale_lr = dict(base_batch_size=2048, enable=False)  # both rates * B / 256
