"""The small machine with AdamW: 16 epochs, a rate of 1e-3 that warms up in one of them and falls to 0."""

_base_ = ['small_machine.py']

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05)
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, warmup=1, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(max_epochs=16)
