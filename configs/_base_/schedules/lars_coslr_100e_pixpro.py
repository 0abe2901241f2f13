"""PixPro on ImageNet (1,024 images a step), 100 epochs; only the number of epochs changes for 400."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='LARS',
        # contrast/lars.py: first the decay, then the trust ratio; biases and norms have neither. It adds 1e-8
        # to the norm of the update.
        variant='popular',
        lr=4.0,  # 1.0 * 1024 / 256
        momentum=0.9,
        weight_decay=1e-5,
    ),
)
# per step: 5 epochs from a hundredth, then cosine to 1e-6
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=1e-6 / 4.0, warmup=5, warmup_start=0.01, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=100)
auto_scale_lr = dict(base_batch_size=1024, enable=False)
