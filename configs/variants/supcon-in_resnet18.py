"""SupCon with the mean over the answers inside the logarithm (Khosla et al., 2020, eq. 3)."""

_base_ = ['../supcon/supcon_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(form='in-mean')
model = dict(heads=dict(image=dict(objective=objective)))
