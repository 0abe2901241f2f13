"""A ResNet-18 that learns content from an EfficientNet-Lite0, and borders of objects from segments."""

_base_ = ['distillation_resnet18_1xb64-coslr-16e_photos.py', '../_base_/segments.py']

model = dict(heads=dict(segments=_base_.segments))
views = [dict(_base_.views[0], count=2)]
pipeline = [dict(_base_.multi_view, views=views, **_base_.with_segments)]
train_dataloader = dict(dataset=dict(proposals=_base_.segmentation, pipeline=pipeline))
