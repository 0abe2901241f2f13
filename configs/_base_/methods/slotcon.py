"""SlotCon: model and views; configs/slotcon/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/byol.py']

sync_bn = 'torch'
slots = 2048
model = dict(
    type='MomentumPretrainer',
    momentum=dict(start=0.99, end=1.0),
    export_branch='target',  # what the authors evaluate
    heads=dict(
        slots=dict(
            type='SlotHead',
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
            objective=dict(
                type='SlotContrast',
                slots=slots,
                student_temperature=0.1,
                teacher_temperature=0.07,
                temperature=0.2,
                group_weight=0.5,
                center_momentum=0.9,
            ),
            loss_weight=2.0,  # the official code sums the two directions, a head takes their mean
        )
    ),
)
