"""GenView on SimSiam, 100 epochs of ImageNet with generated images; see the README beside this file."""

_base_ = [
    '../_base_/methods/genview.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_coslr_100e_simsiam.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        generated=dict(files='.generated/{stem}_*', missing='photo'),
        pipeline=[dict(type='MultiView', views=_base_.views)],
    ),
)
