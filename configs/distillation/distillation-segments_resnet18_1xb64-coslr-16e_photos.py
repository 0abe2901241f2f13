"""A ResNet-18 from an EfficientNet-Lite0, which tells what is there, and from segments, which tell where."""

_base_ = ['distillation_resnet18_1xb64-coslr-16e_photos.py']

model = dict(
    heads=dict(
        # DIP's task within a photo: a cell finds, in another crop, cells of its own segment.
        segments=dict(
            units='LabelledCells',
            matching='SameSegment',
            projector=dict(type='ConvMLP', channels=(512, 512, 128), norm=True, last_norm=True),
            objective=dict(type='InContext', temperature=0.07, others=7),
            pairs=((0, 1),),
        )
    )
)
views = [dict(_base_.views[0], count=2)]
regions = dict(segments=dict(type='LargestMasks', count=32, grid=_base_.small_cells))
train_dataloader = dict(
    dataset=dict(
        # As in the small recipe of DetCon; or a ProposalStore, made once by tools/make_proposals.py.
        proposals=dict(type='Felzenszwalb', scale=150, min_size=150, short_side=128),
        pipeline=[dict(_base_.multi_view, views=views, regions=regions, min_overlap=0.1)],
    )
)
