"""VICReg on ImageNet (2,048 images a step), 1000 epochs; numbers of the official main_vicreg.py.

The 100-epoch run of the README has 512 images a step and base rate 0.3: lr=0.6.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='LARS',
        variant='popular',  # exclude_bias_and_norm: parameters of one dimension
        lr=1.6,  # 0.2 * 2048 / 256
        momentum=0.9,
        weight_decay=1e-6,
    ),
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
auto_scale_lr = dict(base_batch_size=2048, enable=False)
