"""SupCon on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/supcon.py', '../_base_/small_machine.py']

model = dict(
    backbone=_base_.stride16,
    heads=dict(
        image=dict(
            # a short run needs the batch norm; see the page of DenseCL
            projector=dict(channels=(512, 512, 128), norm=True, last_norm=True),
            loss_weight=1.0,
        )
    ),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
# One folder a class below data/photos; its name is the label.
train_dataloader = dict(
    dataset=dict(source=dict(type='ImageNet'), pipeline=[dict(_base_.multi_view, views=views)])
)
