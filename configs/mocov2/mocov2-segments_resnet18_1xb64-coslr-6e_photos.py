"""MoCo v2 on a small machine, with DIP's task: a cell finds the cells of its segment in another crop."""

_base_ = ['mocov2_resnet18_1xb64-coslr-6e_photos.py', '../_base_/segments.py']

model = dict(heads=dict(segments=_base_.segments))
pipeline = [dict(_base_.multi_view, views=_base_.views, **_base_.with_segments)]
train_dataloader = dict(dataset=dict(proposals=_base_.segmentation, pipeline=pipeline))
