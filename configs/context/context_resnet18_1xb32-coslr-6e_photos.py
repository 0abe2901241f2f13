"""Context prediction on some thousand photos of your own, on a small machine: ResNet-18, patches at 32 px."""

_base_ = ['../_base_/methods/context.py', '../_base_/small_machine.py']

model = dict(
    backbone=dict(depth=18),
    heads=dict(context=dict(projector=dict(together=dict(channels=(1024, 512, 8))))),
)
small = dict(patch=32, gap=16, jitter=2, pixels=(15_000, 45_000))
train_dataloader = dict(
    batch_size=32, dataset=dict(pipeline=[dict(_base_.multi_view, views=[{**_base_.patches, **small}])])
)
optim_wrapper = dict(optimizer=dict(lr=0.03))
auto_scale_lr = dict(base_batch_size=32)
