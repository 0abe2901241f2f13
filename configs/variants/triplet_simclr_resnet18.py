"""Triplets with the hardest negative of the batch (Hermans et al., 2017)."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(_delete_=True, type='Triplet', margin=0.2, batch='views')
model = dict(heads=dict(image=dict(objective=objective)))
