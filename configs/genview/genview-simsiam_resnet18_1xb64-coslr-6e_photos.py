"""GenView on some thousand photos of your own, of which some have generated images, on a small machine."""

_base_ = ['../_base_/methods/genview.py', '../_base_/small_machine.py']

model = dict(
    backbone=_base_.stride16,
    heads=dict(
        image=dict(projector=dict(channels=(512, 512, 512, 512)), predictor=dict(channels=(512, 128, 512)))
    ),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
train_dataloader = dict(
    dataset=dict(
        generated=dict(files='.generated/{stem}_*', missing='photo'),
        pipeline=[dict(_base_.multi_view, views=views)],
    )
)
