"""ReSim-FPN: model and views; configs/resim/README.md has the source of each number."""

_base_ = ['../models/resnet50.py', '../views/mocov2.py']

places = dict(type='InfoNCE', temperature=0.2, queue=0, batch='others', mean='counted')
model = dict(
    type='MomentumPretrainer',
    momentum=0.999,
    shuffle_bn=True,
    backbone=dict(out_indices=(0, 1, 2, 3)),
    # P3, P4, and C5 itself. All four levels are listed, so that the tensors have a detector's names.
    neck=dict(type='PartialFPN', in_channels=(256, 512, 1024, 2048), out_channels=256, levels=(1, 2)),
    heads=dict(
        image=dict(
            projector=dict(type='MLP', channels=(2048, 2048, 128)),
            objective=dict(type='InfoNCE', temperature=0.2, queue=65536, dim=128),
        ),
        p4=dict(units=dict(type='Windows', regions='p4', level=1), objective=places),
        p3=dict(units=dict(type='Windows', regions='p3', level=0), objective=places),
    ),
)
regions = dict(
    p4=dict(type='SlidingWindows', window=48, stride=32),
    p3=dict(type='SlidingWindows', window=32, stride=24),
)
