"""ResNet-18 with torchvision's layout, every stage trained, only C5 returned."""

_base_ = 'resnet50.py'

model = dict(backbone=dict(depth=18))
