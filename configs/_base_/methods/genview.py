"""GenView on SimSiam: model and views; configs/genview/README.md has the source of each number."""

_base_ = ['simsiam.py']

model = dict(heads=dict(image=dict(pair_weight='PairQuality')))
views = [{**_base_.views[0], 'count': 1}, {**_base_.views[0], 'count': 1, 'generated': True}]
