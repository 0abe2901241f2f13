"""No temperature: the logit of a cosine s is 2 artanh(s) (Kim and Kim, 2025)."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(temperature=dict(_delete_=True, type='TemperatureFree'))
model = dict(heads=dict(image=dict(objective=objective)))
