"""SiT: model and views; configs/sit/README.md has the source of each number."""

_base_ = ['../models/vit-small.py', '../views/byol.py']

model = dict(
    type='MomentumPretrainer',
    join_views=True,
    momentum=dict(start=0.996, end=1.0),
    heads=dict(
        image=dict(
            projector=dict(
                type='MLP',
                channels=(384, 4096, 4096, 256),
                norm=True,
                last_norm='plain',
                bias=True,
                activation=('ReLU', 'GELU'),
                init='trunc_normal',
            ),
            objective=dict(type='InfoNCE', temperature=0.2, queue=0, batch='keys'),
            pairs=((0, 1), (1, 0)),
            loss_weight=0.8,  # 4 t: the official sum of both directions, times 2 t
        ),
        pixels=dict(
            units='DecodedCells',  # a cell is a pixel
            projector=dict(type='PixelDecoder', in_channels=384, patch=16),
            target=dict(type='Pixels', patch=1),
            objective=dict(type='Reconstruction', distance='absolute'),
            pairs=((0, 0), (1, 1)),
            loss_weight=1.0,
        ),
    ),
)
sync_bn = 'torch'
corruption = [
    dict(mask=dict(type='GMMLMask', patch=1, ratio=0.5), fill='zeros'),
    dict(mask=dict(type='GMMLMask', patch=1, ratio=0.3), fill='batch'),
]
views = [{**view, 'scale': (0.2, 1.0), 'corruption': corruption} for view in _base_.views]
