"""Two views with the augmentation of SupCon's and SINCERE's code (main_supcon.py).

That code trains on CIFAR at 32 px. The numbers are from the code; the size is ImageNet's. The official order
is crop, flip, jitter, grey. Here the flip comes last, which gives the same result, as it commutes with the
others.
"""

view = dict(
    count=2,
    size=224,
    scale=(0.2, 1.0),
    flip=0.5,
    photometric=dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, jitter_prob=0.8, gray_prob=0.2),
)
views = [view]
