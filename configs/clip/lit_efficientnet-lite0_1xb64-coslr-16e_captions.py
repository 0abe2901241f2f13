"""The small CLIP on a locked image tower (LiT): EfficientNet-Lite0 as ImageNet left it, the texts learn."""

_base_ = ['clip_resnet18_1xb64-coslr-16e_captions.py', '../_base_/continuation.py']

model = dict(
    batch_statistics='held',
    frozen_layers=8,  # all: the stem and seven stages
    backbone=_base_.lite0,
    data_preprocessor=_base_.lite0_images,
    heads=dict(text=dict(projector=dict(channels=(320, 128)))),
)
custom_hooks = _base_.from_start
