"""PIRL on ImageNet (1,024 images a step), 800 epochs; VISSL's pirl_jigsaw_4node_resnet50.yaml."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.12, momentum=0.9, weight_decay=1e-4),  # 0.03 * 1024 / 256
    constructor='ParamGroupsConstructor',
    # regularize_bn and regularize_bias are off
    paramwise_cfg=dict(rules=[dict(match='1d', decay_mult=0)]),
)
# cosine from 0.12 to 0.00012, once an epoch
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0.001, by_epoch=True),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=800)
auto_scale_lr = dict(base_batch_size=1024, enable=False)
