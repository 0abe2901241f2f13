"""iBOT with de-coupled augmentation on some thousand photos of your own: a ViT of 4 blocks, 64 px."""

_base_ = ['../_base_/methods/ibot_decoupled.py', '../_base_/small_adamw.py']

side, patch, prototypes = 64, 8, 512
scores = dict(
    prototypes=prototypes,
    teacher_temperature=dict(_delete_=True, start=0.04, end=0.05, shape='linear', duration=2, unit='epoch'),
)
model = dict(
    momentum=dict(start=0.99, end=1.0),
    backbone=dict(embed_dim=128, depth=4, num_heads=2, img_size=side, patch_size=patch, drop_path=0.0),
    heads=dict(
        tokens=dict(
            projector=dict(channels=(128, 512, 512, 64), prototypes=prototypes),
            objective=dict(image=scores, patches=scores, kept=scores),
        )
    ),
)
views = [
    {**v, 'size': side, 'scale': (0.3, 1.0), 'mask': dict(_base_.region_mask, patch=patch)}
    for v in _base_.large_views
]
mixed = dict(mask=dict(_base_.other_mask, patch=patch), fill='batch')
views.append({**_base_.again, 'size': side, 'corruption': [mixed]})
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(lr=5e-4, betas=(0.9, 0.999), weight_decay=0.04))
train_cfg = dict(max_epochs=8)
default_hooks = dict(clip=dict(type='ClipTensorsHook', max_norm=3.0))
