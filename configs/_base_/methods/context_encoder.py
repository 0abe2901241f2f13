"""Context encoders: model and view; configs/context_encoder/README.md has the source of each number."""

size, hole, overlap = 128, 64, 4
model = dict(
    type='SharedPretrainer',
    data_preprocessor=dict(type='PretrainDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(type='StridedConvs', channels=(3, 64, 64, 128, 256, 512)),
    heads=dict(
        pixels=dict(
            units='DecodedCells',  # a cell is a pixel
            projector=dict(type='BottleneckDecoder', in_channels=512, bottleneck=4000, grid=4),
            target=dict(type='Pixels', patch=1),
            objective=dict(
                type='Sum',
                objectives=[
                    dict(type='Reconstruction', border=overlap, border_weight=10.0),
                    dict(
                        type='Adversarial', discriminator=dict(type='Discriminator'), weight=0.001, size=hole
                    ),
                ],
                weights=[0.999, 1.0],
            ),
            pairs=((0, 0),),
        )
    ),
)
corruption = [dict(mask=dict(type='CentreMask', patch=1, side=hole - 2 * overlap), fill='zeros')]
# Crops of 128 px out of 350.
views = [dict(count=1, size=size, scale=(0.1, 0.13), ratio=(1.0, 1.0), flip=0.5, corruption=corruption)]
