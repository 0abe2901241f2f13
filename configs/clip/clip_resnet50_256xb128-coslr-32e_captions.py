"""CLIP's ResNet-50 on image-text pairs, pooled by attention; see the README beside this file."""

_base_ = ['clip_vit-base_256xb128-coslr-32e_captions.py']

model = dict(
    backbone=dict(_delete_=True, type='TimmBackbone', model_name='resnet50_clip', out_indices=(4,)),
    heads=dict(
        text=dict(
            units=dict(type='Image', project='map'),
            projector=dict(_delete_=True, type='AttentionPool2d', channels=(2048, 1024), grid=7),
            target=dict(tower=dict(projection=1024)),
        )
    ),
)
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999), eps=1e-8))
