"""SimSiam on ImageNet (512 images a step), 100 epochs, with a predictor whose lr stays constant."""

optim_wrapper = dict(
    type='OptimWrapper',
    # 0.05 * 512 / 256; decay on all parameters, norms included (main_simsiam.py)
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4),
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(rules=[dict(match='predictor', lr_fixed=True)]),  # --fix-pred-lr
)
# once an epoch, from the first epoch on, no warm-up
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, by_epoch=True),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=100)
auto_scale_lr = dict(base_batch_size=512, enable=False)  # lr * B / 256
