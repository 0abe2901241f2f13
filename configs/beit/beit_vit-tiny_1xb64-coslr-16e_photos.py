"""BEiT on some thousand photos of your own, on a small machine: 512 words of an EfficientNet-Lite0."""

_base_ = ['../_base_/methods/beit.py', '../_base_/small_adamw.py']

side, codes = 128, 512
small = dict(embed_dim=192, depth=6, num_heads=3, img_size=side)
model = dict(
    backbone=small,
    heads=dict(
        codes=dict(
            projector=dict(channels=(192, codes)),
            target=dict(
                backbone=dict(
                    _delete_=True, type='TimmBackbone', model_name='tf_efficientnet_lite0', out_indices=(3,)
                ),
                channels=112,
                codes=codes,
                file='data/tokens/beit_efficientnet-lite0.pth',
            ),
        )
    ),
)
views = [
    {**_base_.views[0], 'size': side, 'scale': (0.2, 1.0), 'mask': dict(_base_.views[0]['mask'], count=25)}
]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999)), clip_grad=dict(max_norm=3.0))
