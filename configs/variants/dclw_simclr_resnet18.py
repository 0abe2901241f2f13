"""DCLW (Yeh et al., 2022, eq. 6): the positive leaves the denominator, easy positives weigh less."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(decoupled=True, sigma=0.5)
model = dict(heads=dict(image=dict(objective=objective)))
