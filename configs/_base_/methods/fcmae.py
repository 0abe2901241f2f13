"""FCMAE: model and view; configs/fcmae/README.md has the source of each number."""

_base_ = ['mae.py']

patch = 32
model = dict(
    backbone=dict(_delete_=True, type='TimmBackbone', model_name='convnextv2_tiny', out_indices=(3,)),
    heads=dict(
        pixels=dict(
            projector=dict(
                _delete_=True,
                type='ConvNeXtDecoder',
                in_channels=768,
                out_channels=patch * patch * 3,
                embed_dim=512,
                depth=1,
            ),
            target=dict(patch=patch),
        )
    ),
)
views = [{**_base_.views[0], 'mask': dict(type='RandomMask', patch=patch, ratio=0.6)}]
