"""PixPro with its instance branch on some thousand photos of your own, on a small machine."""

_base_ = ['pixpro_resnet18_1xb64-coslr-6e_photos.py']

model = dict(
    heads=dict(
        image=dict(
            units=dict(type='Image', project='cells'),
            projector=dict(type='ConvMLP', channels=(512, 512, 128), norm=True, bias=True),
            predictor=dict(type='ConvMLP', channels=(128, 512, 128), norm=True, bias=True),
            objective='Cosine',
            pairs=((0, 1), (1, 0)),
            loss_weight=4.0,
        )
    )
)
