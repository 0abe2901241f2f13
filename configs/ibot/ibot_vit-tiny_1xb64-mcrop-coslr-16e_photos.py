"""iBOT on some thousand photos of your own, on a small machine: a ViT of 6 blocks, 2 x 96 + 2 x 48 px."""

_base_ = ['../_base_/methods/ibot.py', '../_base_/small_machine.py']

epochs, patch, prototypes = 16, 8, 512
scores = dict(
    prototypes=prototypes,
    teacher_temperature=dict(_delete_=True, start=0.04, end=0.05, shape='linear', duration=4, unit='epoch'),
)
pairs = [dict(query=('image', q), key=('image', k), weight=1 / 6) for q in range(4) for k in range(2) if q != k]
pairs += [dict(query=('patches', v), key=('patches', v), weight=1 / 2) for v in range(2)]
model = dict(
    momentum=dict(start=0.99, end=1.0),
    backbone=dict(embed_dim=192, depth=6, num_heads=3, img_size=96, patch_size=patch, drop_path=0.0),
    heads=dict(
        tokens=dict(
            projector=dict(channels=(192, 512, 512, 64), prototypes=prototypes),
            objective=dict(image=scores, patches=scores),
            pairs=pairs,
        )
    ),
)
mask = dict(_base_.mask, patch=patch)
views = [{**v, 'size': 96, 'scale': (0.3, 1.0), 'mask': mask} for v in _base_.views[:2]]
views.append({**_base_.views[2], 'size': 48, 'scale': (0.1, 0.4), 'count': 2})
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=5e-4, weight_decay=0.04))
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0.001, warmup=1, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(clip=dict(type='ClipTensorsHook', max_norm=3.0))
