"""BYOL on ImageNet (4,096 images a step), 100 epochs; presets of the official configs/byol.py.

==========  ========  ============  ==========================
max_epochs  lr        weight_decay  target momentum at start
==========  ========  ============  ==========================
40          7.2       1e-6          0.97
100         7.2       1e-6          0.99
300         4.8       1e-6          0.99
1000        3.2       1.5e-6        0.996
==========  ========  ============  ==========================
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='LARS',
        variant='popular',  # utils/optimizers.py; biases and norms excluded
        lr=7.2,  # 0.45 * 4096 / 256
        momentum=0.9,
        weight_decay=1e-6,
    ),
)
# 10 epochs from 0, then cosine to 0, per step
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, warmup=10, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=100)
auto_scale_lr = dict(base_batch_size=4096, enable=False)
