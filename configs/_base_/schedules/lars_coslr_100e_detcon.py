"""DetCon-B on ImageNet (4,096 images a step): the official detcon_b_config.py; other lengths likewise."""

epochs = 100
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='LARS',
        variant='popular',  # utils/optimizers.py is BYOL's; biases and norms excluded
        lr=3.2,  # 0.2 * 4096 / 256
        momentum=0.9,
        weight_decay=1.5e-6,
    ),
)
# A hundredth of the epochs from 0, then cosine to 0, per step. (The config's warmup_epochs=10 is not used.)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, warmup=epochs // 100, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=epochs)
auto_scale_lr = dict(base_batch_size=4096, enable=False)
