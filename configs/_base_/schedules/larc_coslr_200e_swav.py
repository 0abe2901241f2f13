"""SwAV on ImageNet (4,096 images a step), 200 epochs, with LARC: decay and scaling apply to all parameters.

At 256 images a step the official scripts have lr=0.6, no warm-up and a final lr of 0.0006. This is not linear
scaling, which gives lr=0.3.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='LARS',
        variant='larc',  # main_swav.py: apex LARC, trust 0.001, clip=False, around SGD
        lr=4.8,
        momentum=0.9,
        weight_decay=1e-6,
    ),
)
# linspace(0.3, 4.8) over 10 epochs, then cosine to 0.0048 (scripts/swav_*ep_pretrain.sh)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(
            start=1,
            end=0.001,
            warmup=10,
            warmup_start=0.0625,
            warmup_inclusive=True,
            unit='epoch',
        ),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=200)  # scripts for 100, 200, 400, 800
auto_scale_lr = dict(base_batch_size=4096, enable=False)
