"""SimMIM on some thousand photos of your own, on a small machine: 6 blocks of 192 channels, patches of 8."""

_base_ = ['../_base_/methods/simmim.py', '../_base_/small_adamw.py']

side, patch = 96, 8
small = dict(embed_dim=192, depth=6, num_heads=3, img_size=side, patch_size=patch)
model = dict(
    backbone=small,
    heads=dict(
        pixels=dict(projector=dict(channels=(192, patch * patch * 3)), target=dict(patch=patch)),
    ),
)
mask = dict(_base_.views[0]['mask'], patch=patch, cell=16)
views = [{**_base_.views[0], 'size': side, 'mask': mask}]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999)), clip_grad=dict(max_norm=5.0))
