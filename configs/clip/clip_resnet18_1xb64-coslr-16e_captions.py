"""CLIP on some thousand photos with captions of your own, on a small machine: ResNet-18 at 112 px."""

_base_ = ['../_base_/methods/clip.py', '../_base_/small_adamw.py']

# A tower for short captions and a vocabulary of their own: tools/train_tokenizer.py --size 1024.
tower = dict(vocab_size=1024, context_length=24, width=128, depth=4, heads=4, projection=128)
model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        type='mmdet.ResNet', out_indices=(3,), norm_eval=False, zero_init_residual=False, **_base_.stride16
    ),
    heads=dict(text=dict(projector=dict(channels=(512, 128)), target=dict(tower=tower))),
)
tokenizer = dict(type='Tokenizer', path='data/captions/tokenizer.json', context_length=24)
views = [dict(_base_.view, size=112, scale=(0.4, 1.0), flip=0.5, interpolation='bilinear')]
optim_wrapper = dict(
    constructor='ParamGroupsConstructor',
    paramwise_cfg=dict(rules=[dict(match='1d', decay_mult=0), dict(match='log_scale', decay_mult=0)]),
)
train_dataloader = dict(
    dataset=dict(
        data_root='data/captions',
        source=dict(_delete_=True, type='CaptionTable', table='captions.csv'),
        captions=dict(tokenizer=tokenizer),
        pipeline=[dict(_base_.multi_view, views=views)],
    )
)
