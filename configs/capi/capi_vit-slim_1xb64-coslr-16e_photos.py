"""CAPI on some thousand photos of your own: a ViT of 6 blocks of 192 channels, patches of 8 at 112 px."""

_base_ = ['../_base_/methods/capi.py', '../_base_/small_adamw.py']

side, patch, clusters = 112, 8, 512
model = dict(
    momentum=dict(_delete_=True, start=0.99, end=1.0),
    backbone=dict(
        embed_dim=192,
        depth=6,
        num_heads=3,
        img_size=side,
        patch_size=patch,
        drop_path=0.0,
    ),
    heads=dict(
        clusters=dict(
            projector=dict(
                in_channels=192, clusters=clusters, embed_dim=192, depth=2, num_heads=3, drop_path=0.0
            ),
            # 64 images are too few for equal use at each place.
            objective=dict(dim=192, clusters=clusters, position_wise=False),
        )
    ),
)
views = [{**_base_.views[0], 'size': side, 'mask': dict(_base_.views[0]['mask'], patch=patch, asked=None)}]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(weight_decay=0.1))
factor = dict(start=1, end=0.095, warmup=1, unit='epoch')
param_scheduler = [dict(_base_.param_scheduler[0], factor=factor)]
