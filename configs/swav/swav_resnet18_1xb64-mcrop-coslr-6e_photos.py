"""SwAV on some thousand photos of your own, on a small machine: 2 global views and 4 local ones of 64 px."""

_base_ = ['../_base_/methods/swav.py', '../_base_/small_machine.py']

model = dict(
    data_preprocessor=dict(std=(58.395, 57.12, 57.375)),
    backbone=_base_.stride16,
    heads=dict(
        image=dict(
            # Far more prototypes than dimensions, as on ImageNet: no point is equally far from all of
            # them. The last norm spreads the embeddings from the start.
            projector=dict(channels=(512, 512, 32), last_norm=True, prototypes=256),
            objective=dict(epsilon=0.02),  # sharper codes: at 0.05 those of 64 images soon are all alike
            units=dict(freeze=1, freeze_unit='epoch'),
        )
    ),
)
# Milder crops: 5 % of a photo at 64 px show too little to learn from in so short a run.
views = [
    {**_base_.global_view, 'size': _base_.small_side, 'scale': (0.3, 1.0)},
    {**_base_.local_view, 'size': 64, 'scale': (0.1, 0.4), 'count': 4},
]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(lr=0.03))
