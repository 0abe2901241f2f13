"""A temperature that cools down while it trains: an even space first, then fine differences."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

model = dict(heads=dict(image=dict(objective=dict(temperature=dict(_delete_=True, start=0.5, end=0.1)))))
