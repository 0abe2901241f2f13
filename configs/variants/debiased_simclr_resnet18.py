"""Debiased contrastive learning (Chuang et al., 2020): false negatives are expected and subtracted."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(negatives=dict(type='Debiased', prior=0.1))
model = dict(heads=dict(image=dict(objective=objective)))
