"""BEiT v2 on some thousand photos of your own, on a small machine: the codes of the small VQ-KD."""

_base_ = ['../_base_/methods/beitv2.py', '../_base_/small_adamw.py']

side, codes = 128, 512
small = dict(embed_dim=192, depth=6, num_heads=3, img_size=side)
model = dict(
    backbone=dict(small, class_path=(4, 2)),
    heads=dict(
        codes=dict(
            projector=dict(channels=(192, codes)),
            target=dict(
                backbone=small,
                channels=192,
                codes=codes,
                file='data/tokens/vqkd_vit-tiny.pth',
            ),
        )
    ),
)
views = [{**_base_.views[0], 'size': side, 'mask': dict(_base_.views[0]['mask'], count=25)}]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.98)), clip_grad=dict(max_norm=3.0))
