"""NPID on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/npid.py', '../_base_/small_machine.py']

model = dict(
    backbone=_base_.stride16,
    heads=dict(
        image=dict(
            # Six epochs have no time to move embeddings out of the narrow cone in which they start.
            projector=dict(channels=(512, 128), last_norm=True),
            # A softmax over so few images costs little; 0.1 is the official temperature for CIFAR.
            objective=dict(form='softmax', temperature=0.1),
        )
    ),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
