"""DINOv2 on some thousand photos of your own: a ViT of 4 blocks of 128 channels, 2 x 64 + 2 x 32 px."""

_base_ = ['../ibot/ibot_vit-slim_1xb64-mcrop-coslr-8e_photos.py']

cold = dict(_delete_=True, start=0.02)  # of few photos: a teacher at 0.04 was sure of nothing for ten minutes
model = dict(
    backbone=dict(init_values=1e-1),
    heads=dict(
        tokens=dict(
            units=dict(hidden_only=True),
            objective=dict(
                image=dict(centering='sinkhorn', teacher_temperature=cold),
                patches=dict(centering='sinkhorn', centered_over='valid', teacher_temperature=cold),
            ),
        ),
        koleo=dict(
            objective='KoLeo', pairs=[dict(query=v, key=v, weight=1) for v in range(2)], loss_weight=0.1
        ),
    ),
)
mask = dict(
    type='BlockMask', patch=8, min_area=4, max_area=32, ratio=dict(type='BatchRatios', ratio=(0.1, 0.5))
)
views = [*({**v, 'mask': mask} for v in _base_.views[:2]), _base_.views[2]]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
default_hooks = dict(clip=dict(_delete_=True, type='ClipModulesHook', max_norm=3.0))
