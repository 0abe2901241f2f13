"""PIRL's views: the image at 224 px, and the nine patches of a jigsaw puzzle at 64 px (VISSL).

The order is the official one: crop, jitter, grey, flip. As in the official code, each patch has its own
photometric augmentation and flip. Left out: posterise, sharpen, solarise and autocontrast. The official code
applies all four with probability 0.66 between jitter and grey; this pipeline only has solarise.
"""

photometric = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2, jitter_prob=1.0, gray_prob=0.2)
view = dict(count=1, size=224, scale=(0.08, 1.0), flip=0.5, photometric=photometric)
patches = dict(
    type='JigsawPatches',
    grid=3,
    resize=255,
    cell=85,
    patch=64,
    scale=(0.6, 1.0),
    flip=0.5,
    photometric=photometric,
    photometric_per_patch=True,
    flip_per_patch=True,
)
views = [view, patches]
