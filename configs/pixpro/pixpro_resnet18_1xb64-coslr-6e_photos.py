"""PixPro on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/pixpro.py', '../_base_/small_machine.py']

model = dict(
    momentum=dict(start=0.97, end=1.0),  # a short run needs a faster target
    backbone=_base_.stride16,
    heads=dict(
        pixel=dict(
            # Batch norm at the end; without it all cells move into one narrow cone within tens of steps.
            projector=dict(channels=(512, 512, 128), last_norm=True, bias=(True, False)),
            predictor=dict(channels=128),
        )
    ),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
