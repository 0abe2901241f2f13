"""MoCo v1, 200 epochs of ImageNet: linear projector, temperature 0.07, v1's augmentation, step schedule."""

_base_ = '../mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py'

model = dict(
    heads=dict(image=dict(projector=dict(type='MLP', channels=(2048, 128)), objective=dict(temperature=0.07)))
)
view = dict(
    count=2,
    size=224,
    scale=(0.2, 1.0),
    flip=0.5,
    # The official order is grey, then jitter: the same but for clipped pixels (see the README).
    photometric=dict(
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.4,
        jitter_prob=1.0,
        gray_prob=0.2,
        blur_prob=0.0,
        blur_sigma=(0.1, 2.0),
        solarize_prob=0.0,
    ),
)
train_dataloader = dict(dataset=dict(pipeline=[dict(type='MultiView', views=[view])]))
param_scheduler = [dict(type='MultiStepLR', milestones=[120, 160], gamma=0.1, by_epoch=True)]
