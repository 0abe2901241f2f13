"""DINO with a ViT on ImageNet (512 images a step), 100 epochs; arguments of main_dino.py.

The official code also clips each gradient tensor to norm 3; that is a hook of the method's config::

    custom_hooks = [..., dict(type='ClipTensorsHook', max_norm=3.0)]
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04),  # 0.0005 * 512 / 256
    constructor='ParamGroupsConstructor',
    # utils.py get_params_groups: biases and norms are never decayed
    paramwise_cfg=dict(rules=[dict(match='1d', decay_mult=0)]),
)
param_scheduler = [
    # linspace from 0 over 10 epochs, then cosine to 1e-6; that end is scaled to the batch size as well
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0.001, warmup=10, warmup_inclusive=True, unit='epoch'),
        convert_to_iter_based=True,
    ),
    dict(
        type='ParamSchedule',
        param_name='weight_decay',
        value=dict(start=0.04, end=0.4),
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='PretrainLoop', max_epochs=100)
auto_scale_lr = dict(base_batch_size=512, enable=False)  # lr * B / 256
