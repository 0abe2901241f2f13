"""NPID, 200 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_npid.py',
    '../_base_/schedules/sgd_steplr_200e.py',
    '../_base_/pretrain_runtime.py',
]

model = dict(
    type='SharedPretrainer',
    heads=dict(
        image=dict(
            type='ImageHead',
            projector=dict(type='MLP', channels=(2048, 128)),
            # One vector an image: DataSizeHook tells how many there are.
            objective=dict(type='NCE', dim=128, negatives=4096, temperature=0.07, momentum=0.5),
            pairs=((0, 0),),
        )
    ),
)
