"""DINO: model and views; configs/dino/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/dino.py']

model = dict(
    type='MomentumPretrainer',
    join_views=True,
    momentum=dict(start=0.996, end=1.0),
    heads=dict(
        image=dict(
            units=dict(type='Prototypes', freeze=1),
            projector=dict(
                type='PrototypeProjector',
                channels=(2048, 2048, 2048, 256),
                activation='GELU',
                init='trunc_normal',
                prototypes=65536,
                weight_norm=True,
            ),
            objective=dict(
                type='SelfDistillation',
                prototypes=65536,
                student_temperature=0.1,
                teacher_temperature=0.04,
                center_momentum=0.9,
            ),
            pairs='crops',
        )
    ),
)
views = _base_.resnet_views
sync_bn = 'torch'
