"""DINOv3 on some thousand photos of your own: a ViT of 4 blocks of 128 channels, 2 x 64 + 2 x 32 px.

It has what only the 7B has: storage tokens, SwiGLU, stretched rotary positions, no flips, constant rates.
"""

_base_ = ['../_base_/methods/dinov3.py', '../_base_/small_machine.py']

patch, prototypes, crops = 8, 512, 4
image_pairs = [dict(query=q, key=k, weight=1 / 6) for q in range(crops) for k in range(2) if q != k]
scores = dict(
    prototypes=prototypes,
    teacher_temperature=dict(_delete_=True, start=0.02),  # of few photos, as in DINOv2's small recipe
)
head = dict(
    units=dict(freeze=1, freeze_unit='epoch'),
    projector=dict(channels=(128, 512, 512, 64), prototypes=prototypes),
    objective=scores,
)
model = dict(
    momentum=dict(_delete_=True, start=0.99),
    backbone=dict(
        arch='vit_small_plus_patch16_dinov3_qkvb',
        embed_dim=128,
        depth=4,
        num_heads=2,
        num_reg_tokens=4,
        img_size=64,
        patch_size=patch,
        init_values=1e-1,
        drop_path=0.0,
        rope_rescale=2.0,
    ),
    heads=dict(image=dict(head, pairs=image_pairs), patches=head),
)
mask = dict(_base_.exact_mask, patch=patch, max_area=32)
views = [{**v, 'size': 64, 'scale': (0.3, 1.0), 'flip': 0.0, 'mask': mask} for v in _base_.views[:2]]
views.append({**_base_.views[2], 'size': 32, 'scale': (0.1, 0.4), 'flip': 0.0, 'count': 2})
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=5e-4, weight_decay=0.04))
factor = dict(start=1, warmup=1, unit='epoch')
param_scheduler = [
    dict(type='ParamSchedule', param_name='lr', factor=factor, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=8)
default_hooks = dict(clip=dict(type='ClipModulesHook', max_norm=3.0))
