"""PIRL, 800 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_pirl.py',
    '../_base_/schedules/sgd_coslr_800e_pirl.py',
    '../_base_/pretrain_runtime.py',
]

model = dict(
    type='SharedPretrainer',
    join_views=True,  # all patches in one pass
    heads=dict(
        image=dict(
            type='PatchesHead',
            projector=dict(type='MLP', channels=(2048, 128)),
            patch_projector=dict(
                type='PatchProjector',
                patches=9,
                each=dict(type='MLP', channels=(2048, 128)),
                together=dict(type='MLP', channels=(1152, 128)),
            ),
            # One vector an image: DataSizeHook tells how many there are.
            objective=dict(
                type='NCE',
                dim=128,
                negatives=32000,
                temperature=0.07,
                momentum=0.5,
                eps=1.1920929e-07,
                init='unit',
            ),
        )
    ),
)
train_dataloader = dict(batch_size=32)
