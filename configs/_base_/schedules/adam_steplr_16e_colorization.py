"""Adam on ImageNet, 40 images a step, 16 epochs (500,000 steps), a tenth after 225,000 and 450,000 steps."""

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='Adam', lr=3e-5, betas=(0.9, 0.99), weight_decay=1e-3)
)
param_scheduler = [dict(type='MultiStepLR', milestones=[7, 14], gamma=0.1, by_epoch=True)]
train_cfg = dict(type='PretrainLoop', max_epochs=16)
auto_scale_lr = dict(base_batch_size=40, enable=False)
