"""f-MICL (Lu et al., 2023): another divergence than that of InfoNCE, and a Gaussian kernel."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(_delete_=True, type='FMutualInformation', divergence='jensen-shannon', sigma=0.5, weight=1.0)
model = dict(heads=dict(image=dict(objective=objective)))
