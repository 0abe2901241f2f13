"""Colorization: model and view; configs/colorization/README.md has the source of each number."""

_base_ = ['../models/resnet50.py']

model = dict(
    type='SharedPretrainer',
    backbone=dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)),  # C5 at stride 8
    heads=dict(
        colors=dict(
            units='DecodedCells',
            projector=dict(
                type='PixelDecoder', in_channels=2048, patch=2, out_channels=313, depth=1, level=-1
            ),
            target=dict(type='ColorBins', patch=4, file='data/colors/in1k.pth'),
            objective='SoftCrossEntropy',
            pairs=((0, 0),),
        )
    ),
)
gray = dict(mask=dict(type='RandomMask', patch=4, ratio=1.0), fill='gray')  # the whole view
views = [dict(count=1, size=176, scale=(0.2, 1.0), flip=0.5, corruption=[gray])]
