"""DINOv2 on some thousand photos of your own, on a small machine: a ViT of 6 blocks, 2 x 96 + 2 x 48 px."""

_base_ = ['../ibot/ibot_vit-tiny_1xb64-mcrop-coslr-16e_photos.py']

model = dict(
    backbone=dict(init_values=1e-1),
    heads=dict(
        tokens=dict(
            units=dict(hidden_only=True),
            objective=dict(image=dict(centring='sinkhorn'), patches=dict(centring='sinkhorn')),
        ),
        koleo=dict(
            objective='KoLeo', pairs=[dict(query=v, key=v, weight=1) for v in range(2)], loss_weight=0.1
        ),
    ),
)
mask = dict(
    type='BlockMask', patch=8, min_area=4, max_area=72, ratio=dict(type='BatchRatios', ratio=(0.1, 0.5))
)
views = [*({**v, 'mask': mask} for v in _base_.views[:2]), _base_.views[2]]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
default_hooks = dict(clip=dict(_delete_=True, type='ClipModulesHook', max_norm=3.0))
