"""DIP's task within a photo, added to a small recipe: a cell finds the cells of its segment in another crop.

A config has a recipe and this file as bases, and uses these parts::

    model = dict(heads=dict(segments=_base_.segments))
    pipeline = [dict(_base_.multi_view, views=views, **_base_.with_segments)]
    train_dataloader = dict(dataset=dict(proposals=_base_.segmentation, pipeline=pipeline))
"""

segments = dict(
    units='LabelledCells',
    matching='SameSegment',
    projector=dict(type='ConvMLP', channels=(512, 512, 128), norm=True, last_norm=True),
    objective=dict(type='InContext', temperature=0.07, others=7),
    pairs=((0, 1),),
)
# For maps of 7 x 7 cells; the crops share at least a tenth.
with_segments = dict(regions=dict(segments=dict(type='LargestMasks', count=32, grid=7)), min_overlap=0.1)
# As in the small recipe of DetCon; or a ProposalStore, made once by tools/make_proposals.py.
segmentation = dict(type='Felzenszwalb', scale=150, min_size=150, short_side=128)
