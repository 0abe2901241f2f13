"""Exemplar with triplets: no softmax, so that every photo of ImageNet can be a class."""

_base_ = [
    '../_base_/methods/exemplar.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_steplr_200e.py',
    '../_base_/pretrain_runtime.py',
]

model = dict(
    heads=dict(
        exemplar=dict(
            target=None,
            projector=dict(channels=(2048, 1000)),
            objective=dict(
                _delete_=True, type='Triplet', margin=0.5, mining='semi-hard', squared=True, batch='views'
            ),
            pairs=((0, 1), (1, 0)),
        )
    )
)
views = [{**_base_.view, 'count': 2}]
train_dataloader = dict(dataset=dict(pipeline=[dict(type='MultiView', views=views)]))
