"""DINO's multi-crop: two differently augmented views of 224 px, eight of 96 px (DataAugmentationDINO).

The crops are the code's defaults, for ViTs; ``resnet_views`` has those of the ResNet-50 recipe. The official
order is crop, flip, jitter, grey, blur, solarise. Here the flip comes last, which gives the same result, as
it commutes with the others.
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
crop = dict(size=224, scale=(0.4, 1.0), flip=0.5, interpolation='bicubic')
global_view1 = dict(crop, photometric=dict(photometric, blur_prob=1.0, solarize_prob=0.0))
global_view2 = dict(crop, photometric=dict(photometric, blur_prob=0.1, solarize_prob=0.2))
local_view = dict(crop, count=8, size=96, scale=(0.05, 0.4), photometric=dict(photometric, blur_prob=0.5))
views = [global_view1, global_view2, local_view]
resnet_views = [
    dict(global_view1, scale=(0.14, 1.0)),
    dict(global_view2, scale=(0.14, 1.0)),
    dict(local_view, scale=(0.05, 0.14)),
]
