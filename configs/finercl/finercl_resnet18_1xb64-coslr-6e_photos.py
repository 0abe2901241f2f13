"""FinerCL on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/finercl.py', '../_base_/small_machine.py']

projector = dict(channels=(512, 512, 128), norm=True, last_norm=True)
model = dict(
    momentum=0.99,  # momentum, queues and norms are those of DenseCL's small recipe
    bn_groups=4,
    backbone=_base_.stride16,
    heads=dict(
        image=dict(projector=projector, objective=dict(queue=1024)),
        finer=dict(projector=projector, objective=dict(queue=1024)),
    ),
)
views = [
    {**_base_.view, 'size': _base_.small_side},
    dict(size=2 * _base_.small_side, crop_of=0, flip=None),
]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
