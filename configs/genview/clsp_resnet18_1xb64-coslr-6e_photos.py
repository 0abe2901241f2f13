"""CLSP on some thousand photos of your own: MoCo v2 with generated images as further, weighted positives."""

_base_ = ['../mocov2/mocov2_resnet18_1xb64-coslr-6e_photos.py']

model = dict(
    heads=dict(image=dict(pairs=(dict(query=0, key=1, weight=1.0), dict(query=0, key=2, weight=0.5))))
)
views = [*_base_.views, {**_base_.views[0], 'count': 1, 'generated': True}]
train_dataloader = dict(
    dataset=dict(
        generated=dict(files='.generated/{stem}_*', missing='photo'),
        pipeline=[dict(_base_.multi_view, views=views)],
    )
)
