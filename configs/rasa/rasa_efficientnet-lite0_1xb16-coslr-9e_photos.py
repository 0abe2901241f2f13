"""RASA on ImageNet weights, on some thousand photos of yours: nine rounds of an epoch."""

_base_ = ['../_base_/methods/rasa.py', '../_base_/small_machine.py', '../_base_/continuation.py']

model = dict(
    frozen_layers=8,  # all: the stem and seven stages
    backbone=_base_.lite0,
    data_preprocessor=_base_.lite0_images,
    heads=dict(position=dict(target=dict(patch=16), projector=dict(channels=320))),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=3e-3, weight_decay=0.0))
rounds, epochs = _base_.rounds, 1
param_scheduler = [
    dict(
        type='CosineRestartLR',
        periods=[epochs] * rounds,
        restart_weights=[1.0] * rounds,
        eta_min=0.0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
custom_hooks = _base_.from_start
train_cfg = dict(max_epochs=rounds * epochs)
pipeline = [dict(_base_.multi_view, views=[dict(_base_.views[0], size=160)])]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=pipeline))
auto_scale_lr = dict(base_batch_size=16)
