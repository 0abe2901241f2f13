"""iBOT with de-coupled augmentation: model and views; configs/ibot/README.md has the sources."""

_base_ = ['ibot.py']

image_pairs = [dict(query=('image', q), key=('image', 1 - q), weight=1 / 2, name='image') for q in range(2)]
patch_pairs = [dict(query=('patches', v), key=('patches', v), weight=1 / 2, name='patches') for v in range(2)]
# View 2 has the crop of view 0 with other colours; a part of its pixels is from another image.
decoupled_pairs = [dict(query=('kept', 2), key=('kept', 0), weight=0.3, name='kept')]
slower = dict(teacher_temperature=dict(duration=80))  # epochs
model = dict(
    heads=dict(
        tokens=dict(
            objective=dict(
                image=slower,
                patches=slower,
                kept=dict(
                    _base_.model.heads.tokens.objective.patches,
                    teacher_temperature=dict(_base_.temperature, duration=80),
                ),
            ),
            pairs=image_pairs + patch_pairs + decoupled_pairs,
        )
    )
)
# rho: 0, or for each region a share from U(0.2, 0.6).
region_mask = dict(
    type='RegionCutMask',
    patch=16,
    ratio=dict(type='RatioChoice', ratios=(0.0, 0.4), spreads=(0.0, 0.2)),
)
other_mask = dict(region_mask, ratio=dict(type='RatioChoice', ratios=(0.4,), spreads=(0.2,)), inverted=0.5)
large_views = [{**v, 'scale': (0.14, 1.0), 'mask': region_mask} for v in _base_.views[:2]]
again = {key: value for key, value in _base_.views[0].items() if key != 'mask'}
again = {**again, 'crop_of': 0, 'flip': None, 'corruption': [dict(mask=other_mask, fill='batch')]}
decoupled_views = [*large_views, again]
