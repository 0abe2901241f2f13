"""TaU (Zhang et al., 2021): each view says how sure it is, one more output of the projector."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(temperature=dict(_delete_=True, type='UncertaintyTemperature', value=0.2), decoupled=True)
model = dict(heads=dict(image=dict(projector=dict(channels=(512, 512, 129)), objective=objective)))
