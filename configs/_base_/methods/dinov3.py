"""DINOv3: model and views of its ViT-L/16 on ImageNet; configs/dinov3/README.md has the sources."""

_base_ = ['dinov2.py']

crops, large = 10, 2  # 2 of 224 px, 8 of 96
image_pairs = [
    dict(query=q, key=k, weight=1 / (large * (crops - 1)))
    for q in range(crops)
    for k in range(large)
    if q != k
]
patch_pairs = [dict(query=('patches', v), key=('patches', v), weight=1 / large) for v in range(large)]
scores = dict(
    type='SelfDistillation',
    prototypes=65536,
    student_temperature=0.1,
    teacher_temperature=_base_.temperature,
    centering='sinkhorn',
)
projector = dict(
    type='PrototypeProjector',
    channels=(1024, 2048, 2048, 256),
    activation='GELU',
    init='trunc_normal',
    prototypes=65536,
    plain=True,
)
rest = dict(freeze=1250, freeze_unit='step')
model = dict(
    backbone=dict(
        arch='vit_large_patch16_dinov3_qkvb',
        num_heads=16,
        num_reg_tokens=0,
        init='dinov3',
        hidden='token',
    ),
    heads=dict(
        _delete_=True,
        image=dict(
            units=dict(type='Prototypes', **rest), projector=projector, objective=scores, pairs=image_pairs
        ),
        patches=dict(
            units=dict(type='TokenPrototypes', hidden_only=True, **rest),
            projector=projector,
            objective=dict(scores, mean='images', centered_over='valid'),
            pairs=patch_pairs,
        ),
        koleo=dict(
            units=dict(type='Image', level=-1),
            objective='KoLeo',
            pairs=[dict(query=v, key=v, weight=1) for v in range(large)],
            loss_weight=0.1,
        ),
    ),
)
exact_mask = dict(
    type='BlockMask',
    patch=16,
    max_area=98,
    min_area=4,
    exact=True,
    ratio=dict(type='BatchRatios', ratio=(0.1, 0.5), in_bin='upper'),
)
views = [{**_base_.views[0], 'mask': exact_mask}, {**_base_.views[1], 'mask': exact_mask}, _base_.views[2]]
