"""Holes of random blocks in some thousand photos of your own, on a small machine: ResNet-18 at 96 px."""

_base_ = ['../_base_/methods/context_encoder.py', '../_base_/small_adamw.py']

side = 96
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
        pixels=dict(
            projector=dict(bottleneck=512, channels=(256, 128, 64, 32), grid=6),
            objective=dict(_delete_=True, type='Reconstruction', border=4, border_weight=10.0),
        )
    ),
)
corruption = [dict(mask=dict(type='GMMLMask', patch=1, ratio=0.25, max_side=0.4), fill='zeros')]
views = [dict(count=1, size=side, scale=(0.2, 1.0), flip=0.5, corruption=corruption)]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
