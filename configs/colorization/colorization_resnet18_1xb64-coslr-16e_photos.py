"""Colorization on some thousand photos of your own, on a small machine: ResNet-18 at 96 px, cells of 8 px."""

_base_ = ['../_base_/methods/colorization.py', '../_base_/small_adamw.py']

side, patch = 96, 8
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdet.ResNet',
        norm_eval=False,
        frozen_stages=-1,
        zero_init_residual=True,
        out_indices=(3,),
        **_base_.stride16,
    ),
    heads=dict(
        colors=dict(
            projector=dict(in_channels=512, patch=2), target=dict(patch=patch, file='data/colors/photos.pth')
        )
    ),
)
gray = dict(mask=dict(type='RandomMask', patch=patch, ratio=1.0), fill='gray')
views = [{**_base_.views[0], 'size': side, 'corruption': [gray]}]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
