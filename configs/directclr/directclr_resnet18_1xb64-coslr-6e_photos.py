"""DirectCLR on some thousand photos of your own, on a small machine: ResNet-18 at 96 px."""

_base_ = ['../_base_/methods/directclr.py', '../_base_/small_machine.py']

model = dict(
    backbone=dict(depth=18),
    heads=dict(image=dict(projector=dict(dimensions=90))),  # of 512, as 360 of 2048
)
views = [{**v, 'size': 96} for v in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
