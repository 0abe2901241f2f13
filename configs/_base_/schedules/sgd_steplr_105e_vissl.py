"""SGD with steps at 30, 60, 90 and 100 of 105 epochs (256 images a step); VISSL's pretext tasks."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4),
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(rules=[dict(match='1d', decay_mult=0)]),
)
param_scheduler = [dict(type='MultiStepLR', milestones=[30, 60, 90, 100], gamma=0.1, by_epoch=True)]
train_cfg = dict(type='PretrainLoop', max_epochs=105)
auto_scale_lr = dict(base_batch_size=256, enable=False)
