"""DenseCL on a small machine; a part of each region of the query is erased, or is from another photo."""

_base_ = ['densecl_resnet18_1xb64-coslr-6e_photos.py']

mask = dict(
    type='RegionCutMask',
    patch=8,
    ratio=dict(type='RatioChoice', ratios=(0.15,), spreads=(0.15,)),
)
corruption = [dict(mask=mask, fill='zeros'), dict(mask=mask, fill='batch')]
(view,) = _base_.views
query = {**view, 'count': 1, 'corruption': corruption}
views = [query, {**view, 'count': 1}]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
