"""GloFND (Balmaseda et al., 2025) on SogCLR: images beyond a learned similarity are no negatives."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(
    negatives=[dict(type='GloFND', share=0.01, start=2), dict(type='MovingAverage')],
    decoupled=True,
    times_temperature=True,
)
model = dict(heads=dict(image=dict(objective=objective)))
