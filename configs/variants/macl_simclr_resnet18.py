"""MACL (Huang et al., 2023): the temperature follows the alignment, sure queries weigh less."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(
    temperature=dict(_delete_=True, type='AlignmentAdaptiveTemperature', value=0.2),
    reweighted=True,
)
model = dict(heads=dict(image=dict(objective=objective)))
