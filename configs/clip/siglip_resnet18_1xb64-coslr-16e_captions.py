"""The small CLIP with SigLIP's loss: each pair by itself, one direction says all."""

_base_ = ['clip_resnet18_1xb64-coslr-16e_captions.py']

model = dict(heads=dict(text=dict(objective=dict(_delete_=True, type='SigmoidContrast'), both_ways=False)))
optim_wrapper = dict(
    paramwise_cfg=dict(rules=[dict(match='1d', decay_mult=0), dict(match='log_scale|bias', decay_mult=0)])
)
