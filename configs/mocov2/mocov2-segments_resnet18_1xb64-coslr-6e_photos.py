"""MoCo v2 of a small machine, and DIP's task: a cell finds, in another crop, cells of its own segment."""

_base_ = ['mocov2_resnet18_1xb64-coslr-6e_photos.py']

model = dict(
    heads=dict(
        segments=dict(
            units='LabelledCells',
            matching='SameSegment',
            projector=dict(type='ConvMLP', channels=(512, 512, 128), norm=True, last_norm=True),
            objective=dict(type='InContext', temperature=0.07, others=7),
            pairs=((0, 1),),
        )
    )
)
regions = dict(segments=dict(type='LargestMasks', count=32, grid=_base_.small_cells))
train_dataloader = dict(
    dataset=dict(
        # As in the small recipe of DetCon; or a ProposalStore, made once by tools/make_proposals.py.
        proposals=dict(type='Felzenszwalb', scale=150, min_size=150, short_side=128),
        pipeline=[dict(_base_.multi_view, views=_base_.views, regions=regions, min_overlap=0.1)],
    )
)
