"""One view per image with the augmentation of NPID (lemniscate), which MoCo v1 also uses.

The official order is crop, grey, jitter, flip. Here grey comes after the jitter, as everywhere in this
pipeline. For brightness, contrast and saturation both orders give the same result, except for clipped pixels.
The hue shift differs for grey views, a fifth of all: before grey it changes their luminance, after it not.
"""

view = dict(
    count=1,
    size=224,
    scale=(0.2, 1.0),
    flip=0.5,
    photometric=dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4, jitter_prob=1.0, gray_prob=0.2),
)
views = [view]
