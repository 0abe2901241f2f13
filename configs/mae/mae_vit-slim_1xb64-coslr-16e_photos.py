"""MAE on some thousand photos of your own, on a small machine: 6 blocks of 192 channels, patches of 8 px."""

_base_ = ['../_base_/methods/mae.py', '../_base_/small_adamw.py']

side, patch = 112, 8
small = dict(embed_dim=192, depth=6, num_heads=3, img_size=side, patch_size=patch)
model = dict(
    backbone=small,
    heads=dict(
        pixels=dict(
            projector=dict(
                in_channels=192,
                out_channels=patch * patch * 3,
                grid=side // patch,
                embed_dim=128,
                depth=2,
                num_heads=4,
            ),
            target=dict(patch=patch),
        )
    ),
)
views = [{**_base_.views[0], 'size': side, 'mask': dict(_base_.views[0]['mask'], patch=patch)}]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
