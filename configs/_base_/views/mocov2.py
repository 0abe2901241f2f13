"""Two views in MoCo v2's augmentation (aug-plus); DenseCL uses the same."""

view = dict(
    count=2,
    size=224,
    scale=(0.2, 1.0),
    flip=0.5,
    photometric=dict(
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        jitter_prob=0.8,
        gray_prob=0.2,
        blur_prob=0.5,
        blur_sigma=(0.1, 2.0),
        solarize_prob=0.0,
    ),
)
views = [view]
