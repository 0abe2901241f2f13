"""BYOL's two views with different augmentation; Barlow Twins and VICReg use the same.

The official order is crop, flip, jitter, grey, blur, solarise. Here the flip comes last, which gives the same
result, as it commutes with the others. BYOL blurs with a kernel of 23 px, the other two with Pillow; here the
kernel reaches four sigma.
"""

photometric = dict(
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    jitter_prob=0.8,
    gray_prob=0.2,
    blur_sigma=(0.1, 2.0),
    # Half of 0..1; for whole pixel values this equals the 128 of Barlow Twins and VICReg.
    solarize_threshold=127.5,
)
crop = dict(size=224, scale=(0.08, 1.0), flip=0.5, interpolation='bicubic')
view1 = dict(crop, photometric=dict(photometric, blur_prob=1.0, solarize_prob=0.0))
view2 = dict(crop, photometric=dict(photometric, blur_prob=0.1, solarize_prob=0.2))
views = [view1, view2]
