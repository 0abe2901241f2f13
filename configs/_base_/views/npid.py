"""One view an image in the augmentation of NPID (lemniscate), which MoCo v1 took over.

The official order is crop, grey, jitter, flip. Here grey comes after the jitter, as everywhere in this
pipeline. Brightness, contrast and saturation agree in both orders but for clipped pixels; a hue shift moves
the luminance of the fifth of the views that are grey, which it would leave alone after greying.
"""

view = dict(
    count=1,
    size=224,
    scale=(0.2, 1.0),
    flip=0.5,
    photometric=dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4, jitter_prob=1.0, gray_prob=0.2),
)
views = [view]
