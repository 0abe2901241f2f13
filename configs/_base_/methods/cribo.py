"""CrIBo: model and views; configs/cribo/README.md has the source of each number."""

_base_ = ['../models/vit-small.py', '../views/dino.py']

projector = dict(
    type='PrototypeProjector',
    channels=(384, 2048, 2048, 256),
    activation='GELU',
    init='trunc_normal',
    prototypes=65536,
    weight_norm=True,
    learn_length=True,
)
scored = dict(
    prototypes=65536,
    student_temperature=0.1,
    teacher_temperature=dict(start=0.04, end=0.07, shape='linear', duration=30, unit='epoch', by_epoch=True),
    center_momentum=0.9,
)
both = ((0, 1), (1, 0))
model = dict(
    type='MomentumPretrainer',
    join_views=True,
    momentum=dict(start=0.996, end=1.0),
    heads=dict(
        image=dict(
            units=dict(type='Prototypes', freeze=1),
            projector=projector,
            objective=dict(type='SelfDistillation', **scored),
            pairs=both,
        ),
        objects=dict(
            units=dict(type='JointObjects', level=-2, count=64, position_weight=2.0, freeze=1),
            projector=projector,
            objective=dict(type='NeighbourDistillation', dim=384, queue=2**18, **scored),
            pairs=both,
        ),
    ),
)
views = [dict(view, scale=(0.25, 1.0)) for view in (_base_.global_view1, _base_.global_view2)]
