"""DetCo on some thousand photos of your own, on a small machine, patches at 32 px."""

_base_ = ['../_base_/methods/detco.py', '../_base_/small_machine.py']

widths = (64, 128, 256, 512)
model = dict(
    momentum=0.99,  # this, the queues and the norms as in DenseCL's small recipe
    bn_groups=4,
    backbone=_base_.stride16,
    heads=dict(
        detco=dict(
            projector=dict(channels=widths, hidden=widths, local_hidden=512, norm=True, last_norm=True),
            objective=dict(queue=1024),
        )
    ),
)
views = [
    {**_base_.view, 'size': _base_.small_side},
    {**_base_.patches, 'resize': 129, 'cell': 43, 'patch': 32},
]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(lr=0.02))  # the weights of the twelve terms sum to 6.6
