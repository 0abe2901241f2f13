"""DINOv2: model and views; configs/dinov2/README.md has the source of each number."""

_base_ = ['ibot.py']

crops, large = 10, 2  # 2 of 224 px, 8 of 96
# One mean over all 18 pairs of a large crop and another crop. Patches are compared within the same crop.
image_pairs = [
    dict(query=('image', q), key=('image', k), weight=1 / (large * (crops - 1)), name='image')
    for q in range(crops)
    for k in range(large)
    if q != k
]
patch_pairs = [
    dict(query=('patches', v), key=('patches', v), weight=1 / large, name='patches') for v in range(large)
]
temperature = dict(start=0.04, end=0.07, shape='linear', duration=37500, unit='step')
scores = dict(prototypes=65536, teacher_temperature=dict(_delete_=True, **temperature))
model = dict(
    momentum=dict(start=0.992, end=1.0),
    backbone=dict(drop_path=0.3, drop_path_law='subset', init_values=1e-5),
    heads=dict(
        tokens=dict(
            units=dict(hidden_only=True, freeze=1250, freeze_unit='step'),
            projector=dict(prototypes=65536),
            objective=dict(image=scores, patches=dict(scores, centered_over='valid')),
            pairs=image_pairs + patch_pairs,
        ),
        koleo=dict(
            units=dict(type='Image', level=-1),
            objective='KoLeo',
            pairs=[dict(query=v, key=v, weight=1) for v in range(large)],
            loss_weight=0.1,
        ),
    ),
)
mask = dict(
    type='BlockMask',
    patch=16,
    max_area=98,
    min_area=4,
    ratio=dict(type='BatchRatios', ratio=(0.1, 0.5), share=0.5),
)
views = [
    {**_base_.views[0], 'scale': (0.32, 1.0), 'mask': mask},
    {**_base_.views[1], 'scale': (0.32, 1.0), 'mask': mask},
    {**_base_.views[2], 'scale': (0.05, 0.32), 'count': crops - large},
]
