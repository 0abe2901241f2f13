"""Guided stop-gradient (Lee and Lee, 2023): of an image's views the one nearer to another image moves."""

_base_ = ['../simsiam/simsiam_resnet18_1xb64-coslr-6e_photos.py']

model = dict(heads=dict(image=dict(matching='GuidedStopGradient', loss_weight=2.0)))
