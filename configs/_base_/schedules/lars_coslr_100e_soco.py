"""SoCo on ImageNet (2,048 images a step), 100 epochs; only the number of epochs changes for 400."""

optim_wrapper = dict(
    type='OptimWrapper',
    # contrast/lars.py is PixPro's: first the decay, then the trust ratio; biases and norms have neither.
    optimizer=dict(type='LARS', variant='popular', lr=8.0, momentum=0.9, weight_decay=1e-5),
)
# per step: 10 epochs from a hundredth, then cosine to 1e-6
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=1e-6 / 8.0, warmup=10, warmup_start=0.01, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=100)
auto_scale_lr = dict(base_batch_size=2048, enable=False)  # 1.0 * B / 256
