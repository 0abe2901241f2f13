"""iBOT on some thousand photos of your own: a ViT of 4 blocks of 128 channels, 2 x 64 + 2 x 32 px."""

_base_ = ['../_base_/methods/ibot.py', '../_base_/small_machine.py']

patch, prototypes = 8, 512
scores = dict(
    prototypes=prototypes,
    teacher_temperature=dict(_delete_=True, start=0.04, end=0.05, shape='linear', duration=2, unit='epoch'),
)
cold = dict(scores, teacher_temperature=dict(_delete_=True, start=0.03))  # at 0.04 it takes long to begin
pairs = [
    dict(query=('image', q), key=('image', k), weight=1 / 6, name='image')
    for q in range(4)
    for k in range(2)
    if q != k
]
pairs += [dict(query=('patches', v), key=('patches', v), weight=1 / 2, name='patches') for v in range(2)]
model = dict(
    momentum=dict(start=0.99, end=1.0),
    backbone=dict(embed_dim=128, depth=4, num_heads=2, img_size=64, patch_size=patch, drop_path=0.0),
    heads=dict(
        tokens=dict(
            projector=dict(channels=(128, 512, 512, 64), prototypes=prototypes),
            objective=dict(image=cold, patches=scores),
            pairs=pairs,
        )
    ),
)
mask = dict(_base_.mask, patch=patch)
views = [{**v, 'size': 64, 'scale': (0.3, 1.0), 'mask': mask} for v in _base_.views[:2]]
views.append({**_base_.views[2], 'size': 32, 'scale': (0.1, 0.4), 'count': 2})
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
train_cfg = dict(max_epochs=8)
default_hooks = dict(clip=dict(type='ClipTensorsHook', max_norm=3.0))
