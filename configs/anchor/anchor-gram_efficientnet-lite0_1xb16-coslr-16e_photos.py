"""The finer anchor on similarities of cells (DINOv3): features may change, their similarities should not."""

_base_ = ['anchor_efficientnet-lite0_1xb16-coslr-16e_photos.py']

model = dict(heads=dict(anchor=dict(objective='Gram', units=dict(resize='bicubic'))))
