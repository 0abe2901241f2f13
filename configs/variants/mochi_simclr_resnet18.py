"""MoCHi (Kalantidis et al., 2020): mixtures of the hardest negatives."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(negatives=dict(type='Mixing', hardest=32, pairs=32, with_query=8, start=1))
model = dict(heads=dict(image=dict(objective=objective)))
