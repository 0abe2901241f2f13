"""The temperature is learned (CLIP, Radford et al., 2021)."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(temperature=dict(_delete_=True, type='LearnedTemperature', start=0.2))
model = dict(heads=dict(image=dict(objective=objective)))
