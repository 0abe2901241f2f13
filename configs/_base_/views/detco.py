"""DetCo's views: two images at 224 px with MoCo v2's augmentation, and two puzzles of 9 patches.

A puzzle is PIRL's: a crop of at least 60 % of the image at 255 px, 3x3 cells of 85 px, a patch of 64 px from
each cell. Puzzles have the images' photometric augmentation, with separately drawn parameters. The order is
the one that ``Patches`` expects: query, key, patches of the query, patches of the key.
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
