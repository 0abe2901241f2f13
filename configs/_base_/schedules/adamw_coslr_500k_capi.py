"""CAPI: 500,000 steps of 16,384 images; the README of configs/capi has the sources."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1),
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(
        rules=[
            dict(match=r'\.bias$', decay_mult=0),
            dict(match=r'norm.*\.weight$', decay_mult=0.1),
            dict(match=r'^backbone\.patch_embed\.proj\.weight', lr_mult=0.2),
            dict(match=r'^backbone\.patch_embed\.proj\.bias', lr_mult=0.2, decay_mult=0),
            # The official code has a separate AdamW for them: lr 5e-4, torch's default decay 0.01 on all.
            dict(match=r'objective\.clusters\.', lr_mult=0.5, decay_mult=0.1),
        ]
    ),
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        # The run ends after 0.8 of a half cosine, at 9.5 % of the learning rate.
        factor=dict(start=1, end=0, warmup=50000, warmup_inclusive=True, duration=450000 / 0.8, unit='step'),
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(base_batch_size=16384, enable=False)
