"""PixContrast on some thousand photos of your own, on a small machine."""

_base_ = ['../pixpro/pixpro_resnet18_1xb64-coslr-6e_photos.py']

contrast = dict(type='InfoNCE', temperature=0.3, queue=0, batch='image', form='in', mean='counted')
model = dict(
    heads=dict(
        pixel=dict(
            projector=dict(last_norm=False, bias=True),
            predictor=None,
            objective=dict(_delete_=True, **contrast),
            loss_weight=1.0,
        )
    )
)
