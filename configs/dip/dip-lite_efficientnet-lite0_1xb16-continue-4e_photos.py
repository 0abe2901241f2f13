"""DIP from ImageNet weights, on some thousand photos of yours; frozen cells are what is looked up."""

_base_ = ['../_base_/methods/dip.py', '../_base_/small_machine.py', '../_base_/continuation.py']

side, cells = 160, 10
model = dict(
    **{**_base_.continued, 'heads_first': 0},  # there is no head to train
    backbone=_base_.lite0,
    data_preprocessor=_base_.lite0_images,
    heads=dict(segments=dict(projector=None, target='start')),
)
# As officially with one rate for all, a tenth of what continuation has.
rule = dict(_base_.gentle.paramwise_cfg.rules[0], lr_mult=0.1, lr_ramp=(0, _base_.ramp))
optim_wrapper = dict(_base_.gentle, paramwise_cfg=dict(rules=[rule]))
param_scheduler, custom_hooks = _base_.to_zero, _base_.from_start
train_cfg = dict(max_epochs=4)
regions = dict(segments=dict(type='LargestMasks', count=32, grid=cells))
views = [dict(_base_.views[0], size=side)]
pipeline = [dict(_base_.multi_view, views=views, regions=regions, min_overlap=0.1)]
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        # As in the small recipe of DetCon: for a short side of 128 px.
        proposals=dict(type='Felzenszwalb', scale=150, min_size=150, short_side=128),
        pipeline=pipeline,
    ),
)
auto_scale_lr = dict(base_batch_size=16)
