"""DirectCLR on ImageNet (4,096 images a step), 100 epochs; numbers of the official main.py.

The official code does not scale the learning rate by the batch size; auto_scale_lr does if it is enabled.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='LARS', variant='popular', lr=4.8, momentum=0.9, weight_decay=1e-6),
)
# utils.py adjust_learning_rate: per step, 10 epochs from 0, then cosine to a thousandth
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0.001, warmup=10, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=100)
auto_scale_lr = dict(base_batch_size=4096, enable=False)
