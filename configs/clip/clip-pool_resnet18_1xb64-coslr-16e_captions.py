"""The small CLIP with an attention pool in place of the average: each cell has a value of its own."""

_base_ = ['clip_resnet18_1xb64-coslr-16e_captions.py']

pool = dict(_delete_=True, type='AttentionPool2d', channels=(512, 128), grid=7)  # stride 16 at 112 px
model = dict(heads=dict(text=dict(units=dict(type='Image', project='map'), projector=pool)))
