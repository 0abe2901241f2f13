"""PIRL on some thousand photos of your own, on a small machine."""

_base_ = ['../_base_/methods/pirl.py', '../_base_/small_machine.py']

model = dict(
    backbone=_base_.stride16,
    heads=dict(
        image=dict(
            # Six epochs have no time to move embeddings out of the narrow cone in which they start.
            projector=dict(
                image=dict(channels=(512, 128), last_norm=True),
                patches=dict(each=dict(channels=(512, 128)), together=dict(last_norm=True)),
            ),
            # A softmax over so few images costs little, and has no Z that a short run outgrows.
            objective=dict(form='softmax', temperature=0.1),
        )
    ),
)
views = [
    {**_base_.view, 'size': _base_.small_side},
    {**_base_.patches, 'resize': 129, 'cell': 43, 'patch': 32},
]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
