"""CLIP's ViT-B/16 on image-text pairs, 32,768 a step; see the README beside this file."""

_base_ = [
    '../_base_/methods/clip.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_coslr_32e_clip.py',
    '../_base_/pretrain_runtime.py',
]

model = dict(backbone=dict(type='TimmViT', arch='vit_base_patch16_clip_quickgelu_224', out_indices=(-1,)))
model['heads'] = dict(text=dict(target=dict(tower=dict(activation='quick_gelu'))))
train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        data_root='data/captions',
        source=_base_.source,
        captions=dict(tokenizer=_base_.tokenizer),
        pipeline=[dict(type='MultiView', views=_base_.views)],
    ),
)
