"""Jigsaw on some thousand photos of your own, on a small machine: ResNet-18, tiles at 24 px, 16 orders."""

_base_ = ['../_base_/methods/jigsaw.py', '../_base_/small_machine.py']

orders = 16
model = dict(
    backbone=dict(depth=18),
    heads=dict(
        jigsaw=dict(
            projector=dict(
                each=dict(channels=(512, 128)), together=dict(channels=(1152, 512, orders), norm=True)
            )
        )
    ),
)
small = dict(resize=96, cell=32, patch=24, permutations=orders)
train_dataloader = dict(
    batch_size=16, dataset=dict(pipeline=[dict(_base_.multi_view, views=[{**_base_.puzzle, **small}])])
)
optim_wrapper = dict(optimizer=dict(lr=0.02))
train_cfg = dict(max_epochs=8)
auto_scale_lr = dict(base_batch_size=16)
