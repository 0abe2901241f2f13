"""FNC (Huynh et al., 2022): the most similar images attract."""

_base_ = ['../simclr/simclr_resnet18_1xb64-coslr-6e_photos.py']

objective = dict(negatives=dict(type='SimilarImages', top=5, treatment='attraction'))
model = dict(heads=dict(image=dict(objective=objective)))
