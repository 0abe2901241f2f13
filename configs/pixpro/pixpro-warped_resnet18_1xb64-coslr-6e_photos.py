"""PixPro on a few thousand of your own photos, in rotated, oblique and upside-down views: docs/views.md.

For images without a natural upper side: aerial photos, microscopy, textures.
"""

_base_ = ['pixpro_resnet18_1xb64-coslr-6e_photos.py']

warp = dict(rotation=(-180, 180), scale=(0.9, 1.1), perspective=0.2, fill=(124, 116, 104))
views = [dict(v, flip_vertical=0.5, warp=warp) for v in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
