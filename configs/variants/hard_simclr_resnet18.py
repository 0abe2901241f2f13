"""HCL (Robinson et al., 2021): negatives weighted by how hard they are, then debiased."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(negatives=dict(type='Hard', prior=0.1, concentration=1.0))
model = dict(heads=dict(image=dict(objective=objective)))
