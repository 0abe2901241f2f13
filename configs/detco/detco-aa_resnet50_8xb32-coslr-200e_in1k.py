"""DetCo AA: RandAugment's colour operators on the two images, before MoCo v2's augmentation."""

_base_ = ['detco_resnet50_8xb32-coslr-200e_in1k.py']

views = [dict(type='RandAugmentView', operators=2, magnitude=9, **_base_.view), _base_.patches]
train_dataloader = dict(dataset=dict(pipeline=[dict(type='MultiView', views=views)]))
