"""PaKA from ImageNet weights, on some thousand photos of yours: NeCo's small recipe, kernels, not orders."""

_base_ = ['../neco/neco_efficientnet-lite0_1xb16-continue-4e_photos.py']

order = _base_.model.heads.order
model = dict(heads=dict(_delete_=True, kernels=dict(order, objective='KernelAlignment')))
