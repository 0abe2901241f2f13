"""SwAV with 2 x 224 + 6 x 96 crops, 800 epochs of ImageNet; see the README beside this file."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_swav.py',
    '../_base_/schedules/larc_coslr_200e_swav.py',
    '../_base_/pretrain_runtime.py',
]

model = dict(
    type='SharedPretrainer',
    join_views=True,
    data_preprocessor=_base_.preprocessor,
    heads=dict(
        image=dict(
            type='PrototypeHead',
            projector=dict(
                type='PrototypeProjector',
                channels=(2048, 2048, 128),
                norm=True,
                bias=True,
                prototypes=3000,
            ),
            objective=dict(type='SwappedPrediction', temperature=0.1, epsilon=0.05, iterations=3),
            freeze=313,  # an epoch of 4,096 images a step
            freeze_unit='step',
        )
    ),
)
train_dataloader = dict(batch_size=64)
train_cfg = dict(max_epochs=800)
sync_bn = 'torch'
