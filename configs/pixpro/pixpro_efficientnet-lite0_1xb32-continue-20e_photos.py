"""PixPro from ImageNet weights on some hundred or thousand photos of your own, on a small machine."""

_base_ = ['pixpro_resnet18_1xb64-coslr-6e_photos.py', '../_base_/continuation.py']

model = dict(
    **_base_.continued,
    momentum=dict(start=0.99, end=1.0),
    data_preprocessor=_base_.lite0_images,
    backbone=_base_.lite0,
    heads=dict(pixel=dict(projector=dict(channels=(320, 512, 128))), anchor=_base_.anchor),
)
optim_wrapper = _base_.gentle
custom_hooks = _base_.from_start
epochs = 20
param_scheduler = _base_.to_zero
train_cfg = dict(max_epochs=epochs)
views = [{**v, 'size': 160, 'scale': (0.4, 1.0)} for v in _base_.views]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
auto_scale_lr = dict(base_batch_size=32)
