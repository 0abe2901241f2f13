"""VICReg on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/vicreg.py', '../_base_/small_machine.py']

model = dict(
    backbone=_base_.stride16,
    heads=dict(image=dict(projector=dict(channels=(512, 1024, 1024, 1024)))),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-4))
