"""DetCon-B on some thousand photos of your own, on a small machine.

The masks are made as they are needed (some ms a photo); nothing has to be prepared.
"""

_base_ = ['../_base_/methods/detcon.py', '../_base_/small_machine.py']

model = dict(
    momentum=dict(start=0.97, end=1.0),  # a short run needs a target that follows faster
    backbone=_base_.stride16,
    heads=dict(
        masks=dict(
            # Batch norm at the end, as in the small recipe of PixPro: without it embeddings close up.
            projector=dict(channels=(512, 512, 128), last_norm=True, bias=(True, False)),
            predictor=dict(channels=(128, 512, 128)),
        )
    ),
)
regions = dict(masks=dict(type='SelectMasks', count=16, grid=_base_.small_cells))
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
train_dataloader = dict(
    dataset=dict(
        # The official 1000 and 1000 are for some 500 x 375 px; these are for a short side of 128 px.
        proposals=dict(type='Felzenszwalb', scale=150, min_size=150, short_side=128),
        pipeline=[dict(_base_.multi_view, views=views, regions=regions)],
    )
)
