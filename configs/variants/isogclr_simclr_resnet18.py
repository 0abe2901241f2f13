"""iSogCLR (Qiu et al., 2023): SogCLR with a temperature for every image."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(
    temperature=dict(_delete_=True, type='PerSampleTemperature', start=0.2),
    negatives=dict(type='MovingAverage', gamma=0.8),
    decoupled=True,
    times_temperature=True,
)
model = dict(heads=dict(image=dict(objective=objective)))
