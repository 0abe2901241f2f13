"""SlotCon on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/slotcon.py', '../_base_/small_machine.py']

slots = 64
model = dict(
    momentum=dict(start=0.97, end=1.0),  # a short run needs a target that follows faster
    backbone=_base_.stride16,
    heads=dict(
        slots=dict(
            projector=dict(channels=(512, 512, 512, 128), slots=slots, last_norm=True),
            predictor=dict(channels=(128, 512, 512, 128)),
            # With the official 0.07, a short run leaves every cell's target nearly uniform.
            objective=dict(cells=dict(prototypes=slots, teacher_temperature=0.04)),
        )
    ),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views, min_overlap=0.01)]))
