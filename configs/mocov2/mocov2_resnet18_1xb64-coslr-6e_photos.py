"""MoCo v2 on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/mocov2.py', '../_base_/small_machine.py']

projector = dict(channels=(512, 512, 128), norm=True, last_norm=True)
model = dict(
    momentum=0.99,  # momentum, queue and norms are those of DenseCL's small recipe
    bn_groups=4,
    backbone=_base_.stride16,
    heads=dict(image=dict(projector=projector, objective=dict(queue=1024))),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
