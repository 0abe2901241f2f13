"""FCMAE on some thousand photos of your own, on a small machine: ConvNeXt V2-A at 128 px, 4 x 4 cells."""

_base_ = ['../_base_/methods/fcmae.py', '../_base_/small_adamw.py']

model = dict(
    backbone=dict(model_name='convnextv2_atto'),
    heads=dict(pixels=dict(projector=dict(in_channels=320, embed_dim=256))),
)
views = [dict(_base_.views[0], size=128)]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
