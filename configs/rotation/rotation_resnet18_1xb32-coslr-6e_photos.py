"""Rotation on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/rotation.py', '../_base_/small_machine.py']

model = dict(backbone=_base_.stride16, heads=dict(rotation=dict(projector=dict(channels=(512, 4)))))
# a small part of a photo often has no up and down
views = [{**_base_.view, 'size': _base_.small_side, 'scale': (0.4, 1.0)}]
# Each image says two bits: many small steps learn more than few large ones.
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(lr=0.03))
auto_scale_lr = dict(base_batch_size=32)
