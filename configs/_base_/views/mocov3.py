"""MoCo v3's two views with different augmentation (main_moco.py).

A crop covers at least 0.2 of the image for ResNets, 0.08 for ViTs. The order is the official one: crop,
jitter, grey, blur, solarise, flip.
"""

photometric = dict(
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    jitter_prob=0.8,
    gray_prob=0.2,
    blur_sigma=(0.1, 2.0),
)
crop = dict(size=224, scale=(0.2, 1.0), flip=0.5)
view1 = dict(crop, photometric=dict(photometric, blur_prob=1.0, solarize_prob=0.0))
view2 = dict(crop, photometric=dict(photometric, blur_prob=0.1, solarize_prob=0.2))
views = [view1, view2]
vit_views = [dict(view1, scale=(0.08, 1.0)), dict(view2, scale=(0.08, 1.0))]
