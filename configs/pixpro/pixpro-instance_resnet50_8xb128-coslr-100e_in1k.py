"""PixPro with its instance branch, a BYOL term on the whole image, 100 epochs of ImageNet."""

_base_ = ['pixpro_resnet50_8xb128-coslr-100e_in1k.py']

model = dict(
    heads=dict(
        image=dict(
            units=dict(type='Image', project='cells'),
            projector=dict(type='ConvMLP', channels=(2048, 4096, 256), norm=True, bias=True),
            predictor=dict(type='ConvMLP', channels=(256, 4096, 256), norm=True, bias=True),
            objective='Cosine',
            pairs=((0, 1), (1, 0)),
            loss_weight=4.0,  # times pixpro_ins_loss_weight
        )
    )
)
