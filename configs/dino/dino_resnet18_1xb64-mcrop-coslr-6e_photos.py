"""DINO on some thousand photos of your own, on a small machine: 2 global views and 4 local ones of 64 px."""

_base_ = ['../_base_/methods/dino.py', '../_base_/small_machine.py']

model = dict(
    momentum=dict(start=0.99, end=1.0),  # a short run needs a faster target
    backbone=_base_.stride16,
    heads=dict(
        image=dict(
            # use_bn_in_head of the official code; without it all embeddings start in one narrow cone.
            projector=dict(
                channels=(512, 512, 512, 32),
                norm=True,
                last_norm=True,
                bias=True,
                init='default',
                prototypes=512,
            ),
            objective=dict(prototypes=512),
        )
    ),
)
# Larger crops: in such a short run, 5 % of a photo at 64 px show too little to learn from.
views = [{**v, 'size': _base_.small_side, 'scale': (0.3, 1.0)} for v in _base_.views[:2]]
views.append({**_base_.views[2], 'size': 64, 'scale': (0.1, 0.4), 'count': 4})
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=5e-4, weight_decay=0.04))
default_hooks = dict(clip=dict(type='ClipTensorsHook', max_norm=3.0))
