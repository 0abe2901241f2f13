"""SwAV's multi-crop: two views of 224 px and six of 96 px (multicropdataset.py).

The official order is crop, flip, jitter, grey, blur. Here the flip comes last, which gives the same result,
as it commutes with the others.
"""

photometric = dict(
    brightness=0.8,
    contrast=0.8,
    saturation=0.8,
    hue=0.2,
    jitter_prob=0.8,
    gray_prob=0.2,
    blur_prob=0.5,
    blur_sigma=(0.1, 2.0),
)
global_view = dict(count=2, size=224, scale=(0.14, 1.0), flip=0.5, photometric=photometric)
local_view = dict(count=6, size=96, scale=(0.05, 0.14), flip=0.5, photometric=photometric)
views = [global_view, local_view]
two_views = [dict(global_view, scale=(0.08, 1.0))]  # of the official runs without multi-crop
# The official std of red is 0.228, an error for 0.229. The preprocessor has it too, 58.14 = 255 * 0.228:
# model=dict(data_preprocessor=_base_.preprocessor)
preprocessor = dict(
    type='PretrainDataPreprocessor', mean=(123.675, 116.28, 103.53), std=(58.14, 57.12, 57.375)
)
