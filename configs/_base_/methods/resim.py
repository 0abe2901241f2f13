"""ReSim-FPN: model and views; configs/resim/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/mocov2.py']

window = dict(type='WindowHead', objective=dict(type='WindowInfoNCE', temperature=0.2))
model = dict(
    type='MomentumPretrainer',
    momentum=0.999,
    shuffle_bn=True,
    backbone=dict(out_indices=(0, 1, 2, 3)),
    # P3, P4, and C5 as it is. All four levels are named, so that the tensors have a detector's names.
    neck=dict(type='PartialFPN', in_channels=(256, 512, 1024, 2048), out_channels=256, levels=(1, 2)),
    heads=dict(
        image=dict(
            type='ImageHead',
            level=-1,
            projector=dict(type='MLP', channels=(2048, 2048, 128)),
            objective=dict(type='InfoNCE', temperature=0.2, queue=65536, dim=128),
        ),
        p4=dict(window, level=1, window=48, stride=32),
        p3=dict(window, level=0, window=32, stride=24),
    ),
)
