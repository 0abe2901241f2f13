"""SGD with steps at 120 and 160 of 200 epochs (256 images a step), as in NPID and MoCo v1."""

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [dict(type='MultiStepLR', milestones=[120, 160], gamma=0.1, by_epoch=True)]
train_cfg = dict(type='PretrainLoop', max_epochs=200)
auto_scale_lr = dict(base_batch_size=256, enable=False)
