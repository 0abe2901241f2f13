"""ViewMaker on SimCLR: model and views; configs/viewmaker/README.md has the source of each number."""

_base_ = ['simclr.py']

model = dict(
    view_maker=dict(type='ViewMaker', budget=0.05),
    heads=dict(image=dict(objective=dict(temperature=0.07), loss_weight=1.0)),
)
views = [dict(count=2, size=224, scale=(0.2, 1.0), flip=0.5)]  # no colour changes: it learns them
