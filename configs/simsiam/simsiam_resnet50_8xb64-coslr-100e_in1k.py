"""SimSiam, 100 epochs of ImageNet; see the README beside this file for the source of each number."""

_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_mocov2.py',
    '../_base_/schedules/sgd_coslr_100e_simsiam.py',
    '../_base_/pretrain_runtime.py',
]

sync_bn = 'torch'
model = dict(
    type='SharedPretrainer',
    backbone=dict(zero_init_residual=True),
    heads=dict(
        image=dict(
            type='ImageHead',
            projector=dict(
                type='MLP',
                channels=(2048, 2048, 2048, 2048),
                norm=True,
                last_norm='plain',
                bias=(False, False, True),  # the last one does nothing: batch norm takes it out
            ),
            predictor=dict(type='MLP', channels=(2048, 512, 2048), norm=True, bias=(False, True)),
            objective=dict(type='NegativeCosine'),
            pairs=((0, 1), (1, 0)),
            stop_gradient=True,
        )
    ),
)
train_dataloader = dict(batch_size=64)
# The last batch norm keeps embeddings centred: collapse shows in their rank long before their deviation.
default_hooks = dict(collapse=dict(min_rank=10.0))
