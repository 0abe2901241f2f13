"""BEiT v2, codes of VQ-KD and a class-token path: model and view; configs/beit/README.md has the sources."""

_base_ = ['beit.py']

model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    # The first level: patches of block 9 and the class token of the last block, after two more blocks.
    backbone=dict(class_path=(9, 2)),
    heads=dict(
        codes=dict(
            units=dict(_delete_=True, type='MaskedCells', levels=dict(last=-1, path=0)),
            target=dict(
                _delete_=True,
                type='VQKDTokens',
                backbone=dict(type='TimmViT', arch='vit_base_patch16_224', output_cls_token=False),
                channels=768,
                codes=8192,
                patch=16,
                stride=16,
                file='data/tokens/vqkd_vit-base.pth',
            ),
            pairs=[
                dict(query=('last', 0), key=('last', 0), weight=1, name='last'),
                dict(query=('path', 0), key=('last', 0), weight=1, name='path'),
            ],
        )
    ),
)
jitter = dict(brightness=0.4, contrast=0.4, saturation=0.4, jitter_prob=1.0)
views = [
    {
        **_base_.views[0],
        'scale': (0.2, 1.0),
        'photometric': jitter,
        'mask': dict(_base_.views[0]['mask'], exact=True),
    }
]
