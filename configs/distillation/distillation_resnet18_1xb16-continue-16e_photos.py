"""Improves a pretrained ResNet-18 with an EfficientNet-Lite0 as teacher, from hundreds of photos.

It needs starting weights: --pretrained FILE, a name, or torchvision:resnet18.
"""

_base_ = ['distillation_resnet18_1xb64-coslr-16e_photos.py', '../_base_/continuation.py']

model = dict(
    **_base_.continued,
    heads=dict(cells=dict(units=dict(grid=10))),  # for views of 160 px, which the teacher gets at 320 px
)
optim_wrapper, param_scheduler = _base_.gentle, _base_.to_zero
views = [{**_base_.views[0], **_base_.mild}]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
auto_scale_lr = dict(base_batch_size=16)
