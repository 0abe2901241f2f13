"""MoCo v2 from ImageNet weights, on some hundred or thousand photos of your own: docs/continuation.md."""

_base_ = ['mocov2_resnet18_1xb64-coslr-6e_photos.py', '../_base_/continuation.py']

model = dict(
    **_base_.continued,
    bn_groups=1,
    shuffle_bn=False,
    backbone=_base_.lite0,
    data_preprocessor=_base_.lite0_images,
    heads=dict(
        image=dict(projector=dict(channels=(320, 512, 128)), objective=dict(queue=256)),
        anchor=_base_.anchor,
    ),
)
optim_wrapper, param_scheduler, custom_hooks = _base_.gentle, _base_.to_zero, _base_.from_start
train_cfg = dict(max_epochs=16)
views = [{**v, **_base_.mild} for v in _base_.views] + [_base_.finer]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
auto_scale_lr = dict(base_batch_size=16)
