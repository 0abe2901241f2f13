"""Two views with SimCLR's augmentation at strength 1 (data_util.py of the official code).

The official order is crop, flip, jitter, grey, blur. Here the flip comes last, which gives the same result,
as it commutes with the others. Brightness is multiplied, the code's default ("v2"; the first paper added it).
The official blur has a kernel of 23 px for a view of 224 px, six sigma and more; here it reaches four sigma.
"""

view = dict(
    count=2,
    size=224,
    scale=(0.08, 1.0),
    flip=0.5,
    interpolation='bicubic',
    photometric=dict(
        brightness=0.8,
        contrast=0.8,
        saturation=0.8,
        hue=0.2,
        jitter_prob=0.8,
        gray_prob=0.2,
        blur_prob=0.5,
        blur_sigma=(0.1, 2.0),
    ),
)
views = [view]
# The official network gets pixels in 0..1, without normalisation:
# model=dict(data_preprocessor=_base_.preprocessor)
preprocessor = dict(type='PretrainDataPreprocessor', mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
