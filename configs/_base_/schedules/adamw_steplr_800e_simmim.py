"""SimMIM on ImageNet, 2,048 images a step, 800 epochs; the README of configs/simmim has the sources."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-4, weight_decay=0.05),  # 1e-4 * 2048 / 512
    clip_grad=dict(max_norm=5.0),
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(rules=[dict(match='1d', decay_mult=0), dict(match='cls_token', decay_mult=0)]),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.005, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='MultiStepLR', milestones=[700], gamma=0.1, by_epoch=True),
]
train_cfg = dict(type='PretrainLoop', max_epochs=800)
auto_scale_lr = dict(base_batch_size=2048, enable=False)
