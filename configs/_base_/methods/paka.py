"""PaKA from DINOv2: NeCo's model and views, kernels in place of orders; see configs/paka/README.md."""

_base_ = ['neco.py']

model = dict(
    heads=dict(
        _delete_=True,
        kernels=dict(_base_.model.heads.order, objective='KernelAlignment'),
    )
)
