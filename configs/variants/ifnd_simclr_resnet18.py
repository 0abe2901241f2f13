"""IFND (Chen et al., 2022): images of the same cluster are no negatives."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(negatives=dict(type='Clusters', dim=128, clusters=(50, 200)))
model = dict(heads=dict(image=dict(objective=objective)))
