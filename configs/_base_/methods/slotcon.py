"""SlotCon: model and views; configs/slotcon/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/byol.py']

sync_bn = 'torch'
slots = 2048
model = dict(
    type='MomentumPretrainer',
    momentum=dict(start=0.99, end=1.0),
    export_branch='target',  # the branch that the authors evaluate
    heads=dict(
        slots=dict(
            units='Groups',
            projector=dict(
                type='SlotProjector',
                channels=(2048, 4096, 4096, 256),
                slots=slots,
                temperature=0.07,
                norm=True,
                bias=True,
                activation='GELU',
                init='trunc_normal',
            ),
            predictor=dict(
                type='MLP',
                channels=(256, 4096, 4096, 256),
                norm=True,
                bias=True,
                activation='GELU',
                init='trunc_normal',
            ),
            matching=dict(cells='SharedGrid', slots=dict(type='SameId', overlap=True)),
            objective=dict(
                cells=dict(
                    type='SelfDistillation',
                    prototypes=slots,
                    student_temperature=0.1,
                    teacher_temperature=0.07,
                    center_momentum=0.9,
                    mean='counted',
                ),
                slots=dict(
                    type='InfoNCE',
                    temperature=0.2,
                    queue=0,
                    batch='units',
                    times_temperature=True,
                    mean='counted',
                ),
            ),
            # Half of each term, the contrast times 2 t, summed over both directions
            pairs=[
                dict(query=('cells', 0), key=('cells', 1), weight=0.5, name='grouping'),
                dict(query=('cells', 1), key=('cells', 0), weight=0.5, name='grouping'),
                dict(query=('slots', 0), key=('slots', 1), weight=1.0, name='contrast'),
                dict(query=('slots', 1), key=('slots', 0), weight=1.0, name='contrast'),
            ],
        )
    ),
)
