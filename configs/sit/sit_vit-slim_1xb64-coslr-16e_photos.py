"""SiT on some thousand photos of your own, on a small machine: a ViT of 4 blocks of 128 channels at 64 px."""

_base_ = ['../_base_/methods/sit.py', '../_base_/small_adamw.py']

side, patch = 64, 8
model = dict(
    momentum=dict(start=0.99, end=1.0),
    backbone=dict(embed_dim=128, depth=4, num_heads=2, img_size=side, patch_size=patch, drop_path=0.0),
    heads=dict(
        image=dict(projector=dict(channels=(128, 512, 512, 128))),
        pixels=dict(projector=dict(in_channels=128, patch=patch), loss_weight=5.0),  # of small sets
    ),
)
views = [{**view, 'size': side} for view in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
default_hooks = dict(clip=dict(type='ClipTensorsHook', max_norm=3.0))
