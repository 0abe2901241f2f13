"""MoCo v1, 200 epochs of ImageNet: linear projector, temperature 0.07, v1's augmentation, step schedule."""

_base_ = '../mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py'

model = dict(
    heads=dict(image=dict(projector=dict(type='MLP', channels=(2048, 128)), objective=dict(temperature=0.07)))
)
# The official order is grey, then jitter: the same but for clipped pixels (see the README).
photometric = dict(_base_.view.photometric, hue=0.4, jitter_prob=1.0, blur_prob=0.0)
view = dict(_base_.view, photometric=photometric)
train_dataloader = dict(dataset=dict(pipeline=[dict(type='MultiView', views=[view])]))
param_scheduler = [dict(type='MultiStepLR', milestones=[120, 160], gamma=0.1, by_epoch=True)]
