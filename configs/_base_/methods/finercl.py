"""FinerCL: MoCo v2 and cells that find their finer selves; see configs/finercl/README.md."""

_base_ = ['mocov2.py']

cells, times = 7, 2
model = dict(
    heads=dict(
        finer=dict(
            units=dict(type='Cells', grid=cells),
            projector=dict(type='ConvMLP', channels=(2048, 2048, 128)),
            objective=dict(type='InfoNCE', temperature=0.2, queue=65536, dim=128),
            pairs=((0, 2),),
        ),
    ),
)
# What the target sees: the crop of the query at twice the side, without colours changed, mirrored alike.
views = [*_base_.views, dict(size=times * _base_.view['size'], crop_of=0, flip=None)]
