"""NeCo from ImageNet weights, on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/neco.py', '../_base_/small_machine.py', '../_base_/continuation.py']

size, cells = 160, 5
model = dict(
    **_base_.continued,
    momentum=dict(start=0.99, end=1.0),
    backbone=_base_.lite0,
    data_preprocessor=_base_.lite0_images,
    heads=dict(
        order=dict(
            matching=dict(size=cells),
            projector=dict(channels=(320, 512, 128)),
            objective=dict(count=cells**2),
        )
    ),
)
# As officially a tenth of the heads' rate; that of continuation takes from the start.
rule = dict(_base_.gentle.paramwise_cfg.rules[0], lr_mult=0.1)
optim_wrapper = dict(_base_.gentle, paramwise_cfg=dict(rules=[rule]))
param_scheduler, custom_hooks = _base_.to_zero, _base_.from_start
train_cfg = dict(max_epochs=4)
crop = dict(_base_.crop, size=size, scale=(0.25, 1.0), photometric=dict(_base_.photometric, hue=0.1))
views = [dict(crop, count=2)]
pipeline = [dict(_base_.multi_view, views=views, min_overlap=0.02)]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=pipeline))
auto_scale_lr = dict(base_batch_size=16)
