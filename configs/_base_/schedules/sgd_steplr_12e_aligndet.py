"""A detector's 1x schedule: SGD, 500 steps of warm-up, steps at 8 and 11 of 12 epochs (16 images a step)."""

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, begin=0, end=500, by_epoch=False),
    dict(type='MultiStepLR', milestones=[8, 11], gamma=0.1, by_epoch=True),
]
train_cfg = dict(type='PretrainLoop', max_epochs=12)
auto_scale_lr = dict(base_batch_size=16, enable=False)
