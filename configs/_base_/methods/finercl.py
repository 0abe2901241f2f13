"""FinerCL: MoCo v2, and cells that match the same cells at a finer resolution; configs/finercl/README.md."""

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
# The target's view: the query's crop at twice the side, with the same flip and without colour changes.
views = [*_base_.views, dict(size=times * _base_.view['size'], crop_of=0, flip=None)]
