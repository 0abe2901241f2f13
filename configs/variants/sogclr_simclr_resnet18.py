"""SogCLR (Yuan et al., 2022): the negatives' mass is a moving average over epochs."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(negatives=dict(type='MovingAverage', gamma=0.9), decoupled=True, times_temperature=True)
model = dict(heads=dict(image=dict(objective=objective)))
