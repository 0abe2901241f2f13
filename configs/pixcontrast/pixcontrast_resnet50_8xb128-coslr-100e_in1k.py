"""PixContrast, 100 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = ['../pixpro/pixpro_resnet50_8xb128-coslr-100e_in1k.py']

contrast = dict(type='InfoNCE', temperature=0.3, queue=0, batch='image', form='in', mean='counted')
model = dict(
    heads=dict(
        pixel=dict(
            predictor=None,
            objective=dict(_delete_=True, **contrast),
            loss_weight=1.0,
        )
    )
)
