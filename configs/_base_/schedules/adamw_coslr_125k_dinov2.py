"""DINOv2 and DINOv3: 125,000 steps of 2,048 images; the README of configs/dinov2 has the sources."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5.66e-3, weight_decay=0.04),  # 4e-3 * sqrt(2048 / 1024)
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(
        rules=[
            # The official code counts one more layer, so its last block has 0.9 of the heads' rate.
            dict(match=r'^backbone\.(?!norm)', layer_decay=0.9, lr_mult=0.9),
            dict(match=r'^backbone\.patch_embed', lr_mult=0.9 * 0.2),
            dict(match=r'bias$|norm|gamma', decay_mult=0),
        ]
    ),
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=1e-6 / 5.66e-3, warmup=12500, unit='step'),
        convert_to_iter_based=True,
    ),
    dict(
        type='ParamSchedule',
        param_name='weight_decay',
        value=dict(start=0.04, end=0.4),
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=2048, rule='sqrt', enable=False)
