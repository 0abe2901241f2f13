"""CrIBo from ImageNet weights, on some thousand photos of your own, on a small machine."""

_base_ = ['../neco/neco_efficientnet-lite0_1xb16-continue-4e_photos.py']

count = 1024
projector = dict(
    type='PrototypeProjector',
    channels=(320, 512, 128),
    activation='GELU',
    prototypes=count,
    weight_norm=True,
)
both = ((0, 1), (1, 0))
model = dict(
    heads=dict(
        _delete_=True,
        image=dict(
            units='Prototypes',
            projector=projector,
            objective=dict(type='SelfDistillation', prototypes=count),
            pairs=both,
        ),
        objects=dict(
            units=dict(type='JointObjects', count=16, position_weight=2.0),
            projector=projector,
            objective=dict(type='NeighbourDistillation', prototypes=count, dim=320, queue=4096),
            pairs=both,
        ),
    )
)
