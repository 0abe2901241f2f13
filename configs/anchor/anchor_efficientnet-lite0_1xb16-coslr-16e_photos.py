"""ImageNet weights, made finer on a few hundred or thousand of your own photos; see the README here."""

_base_ = ['../_base_/small_machine.py', '../_base_/continuation.py']

model = dict(
    type='SharedPretrainer',
    batch_statistics='held',
    frozen_layers=1,
    backbone={k: v for k, v in _base_.lite0.items() if k != '_delete_'},
    data_preprocessor=_base_.lite0_images,
    heads=dict(anchor=dict(_base_.anchor, pairs=((0, 1),))),
)
optim_wrapper = dict(
    _base_.gentle,
    paramwise_cfg=dict(rules=[dict(_base_.gentle.paramwise_cfg.rules[0], lr_ramp=(0, _base_.ramp))]),
)
param_scheduler, custom_hooks = _base_.to_zero, _base_.from_start
train_cfg = dict(max_epochs=16)
mild_colours = dict(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05, jitter_prob=0.8, blur_prob=0.2)
views = [dict(_base_.mild, flip=0.5, photometric=mild_colours)]
pipeline = [dict(_base_.multi_view, views=views + [_base_.finer])]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=pipeline))
auto_scale_lr = dict(base_batch_size=16)
