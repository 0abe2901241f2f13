"""SGD with steps at 30 and 50 of 70 epochs (512 images a step); OpenMMLab's context prediction."""

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=1e-4))
param_scheduler = [dict(type='MultiStepLR', milestones=[30, 50], gamma=0.1, by_epoch=True)]
train_cfg = dict(type='PretrainLoop', max_epochs=70)
auto_scale_lr = dict(base_batch_size=512, enable=False)
