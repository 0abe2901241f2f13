"""DenseCL: model and views; configs/densecl/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/mocov2.py']

model = dict(
    type='MomentumPretrainer',
    momentum=0.999,
    shuffle_bn=True,
    heads=dict(
        image=dict(
            projector=dict(type='MLP', channels=(2048, 2048, 128), init='normal'),
            objective=dict(type='InfoNCE', temperature=0.2, queue=65536, dim=128),
            loss_weight=0.5,
        ),
        dense=dict(
            units='Cells',
            projector=dict(type='ConvMLP', channels=(2048, 2048, 128)),
            matching='MostSimilar',
            objective=dict(type='InfoNCE', temperature=0.2, queue=65536, dim=128),
            loss_weight=0.5,
        ),
    ),
)
