"""SparK: model and view; configs/spark/README.md has the source of each number."""

_base_ = ['mae.py']

sync_bn = 'torch'
patch = 32
model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='resnet50',
        out_indices=(1, 2, 3, 4),
        drop_path_rate=0.05,
    ),
    heads=dict(
        pixels=dict(
            projector=dict(
                _delete_=True, type='UNetDecoder', channels=(256, 512, 1024, 2048), patch=patch, width=768
            ),
            target=dict(patch=patch),
        )
    ),
)
mask = dict(type='RandomMask', patch=patch, ratio=0.6, rounding='round')
views = [{**_base_.views[0], 'scale': (0.67, 1.0), 'mask': mask}]
