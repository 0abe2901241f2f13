"""The finer anchor by similarities: the backbone may turn its space, what is alike stays alike (DINOv3)."""

_base_ = ['anchor_efficientnet-lite0_1xb16-coslr-16e_photos.py']

model = dict(heads=dict(anchor=dict(objective='Gram', units=dict(resize='bicubic'))))
