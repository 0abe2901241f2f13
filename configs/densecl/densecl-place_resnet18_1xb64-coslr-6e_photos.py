"""DenseCL on a small machine; cells are matched by their place in the photo, as in PixPro."""

_base_ = ['densecl_resnet18_1xb64-coslr-6e_photos.py']

model = dict(heads=dict(dense=dict(matching=dict(_delete_=True, type='ByLocation', threshold=0.7))))
