"""SupCon (1,024 images a step), 1000 epochs: the official CIFAR recipe, the only one in the released code.

The official cosine changes once an epoch and counts the warm-up as well; here it changes at every step
and starts after the warm-up. The two rates differ by at most 1.1 % of the largest one.
"""

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.5, momentum=0.9, weight_decay=1e-4))
# main_supcon.py: 10 epochs from 0.01 (above 256 images a step), then cosine to lr * 0.1 ** 3
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0.001, warmup=10, warmup_start=0.02, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=1000)
auto_scale_lr = dict(base_batch_size=1024, enable=False)
