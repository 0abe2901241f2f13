"""SGD and a cosine per epoch, as in MoCo v2 and DenseCL on ImageNet (256 images a step)."""

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-4)
)
# once an epoch, over the whole run
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, by_epoch=True),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=200)
auto_scale_lr = dict(base_batch_size=256, enable=False)
