"""DetCo's views: two images at 224 px in MoCo v2's augmentation, and two puzzles of 9 patches.

A puzzle is PIRL's, recoloured as the images are, each with parameters of its own: a crop of at least 60 % at
255 px, 3x3 cells of 85 px, a patch of 64 px from each. The order is that which ``units='Patches'`` expects:
query, key, patches of the query, patches of the key.
"""

_base_ = 'mocov2.py'

patches = dict(
    type='JigsawPatches',
    count=2,
    grid=3,
    resize=255,
    cell=85,
    patch=64,
    scale=(0.6, 1.0),
    flip=0.5,
    photometric=_base_.view.photometric,
)
views = [_base_.view, patches]
