"""A hole in the middle, filled so that a discriminator takes it for true; ResNet-18 at 96 px, photos."""

_base_ = ['context-encoder_resnet18_1xb64-coslr-16e_photos.py']

hole, overlap = 48, 4
model = dict(
    heads=dict(
        pixels=dict(
            objective=dict(
                _delete_=True,
                type='Sum',
                objectives=[
                    dict(type='Reconstruction', border=overlap, border_weight=10.0),
                    dict(
                        type='Adversarial',
                        discriminator=dict(type='Discriminator', channels=(3, 32, 64, 128, 256), grid=3),
                        weight=0.001,
                        size=hole,
                    ),
                ],
                weights=[0.999, 1.0],
            )
        )
    )
)
corruption = [dict(mask=dict(type='CentreMask', patch=1, side=hole - 2 * overlap), fill='zeros')]
views = [dict(_base_.views[0], corruption=corruption)]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(
    constructor='ParamGroupsConstructor', paramwise_cfg=dict(rules=[dict(match='discriminator', lr_mult=0.2)])
)
