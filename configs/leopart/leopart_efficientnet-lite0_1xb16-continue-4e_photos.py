"""Leopart from ImageNet weights, on some thousand photos of your own, on a small machine."""

_base_ = ['../neco/neco_efficientnet-lite0_1xb16-continue-4e_photos.py']

model = dict(
    heads=dict(
        _delete_=True,
        clusters=dict(
            units=dict(type='CellPrototypes', foreground='norm'),
            matching=dict(type='SharedGrid', size=5, samples=2),
            projector=dict(
                type='PrototypeProjector', channels=(320, 512, 128), activation='GELU', prototypes=100
            ),
            objective=dict(
                type='SwappedPrediction',
                queue=2048,
                dim=128,
                queue_start=0,
                queue_units=10,
                mean='counted',
                assigned='all',
            ),
            pairs='crops',
        ),
    )
)
small = dict(_base_.crop, count=2, size=96, scale=(0.05, 0.25))
train_dataloader = dict(
    dataset=dict(pipeline=[dict(_base_.multi_view, views=[*_base_.views, small], min_overlap=0.02)])
)
