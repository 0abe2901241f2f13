"""SINCERE on some thousand photos of your own, on a small machine."""

_base_ = ['../supcon/supcon_resnet18_1xb64-coslr-6e_photos.py']

model = dict(heads=dict(image=dict(objective=dict(form='apart'))))
