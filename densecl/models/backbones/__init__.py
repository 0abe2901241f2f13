"""Adapters for backbones of other libraries; mmdet's and mmseg's come by scope ("mmdet.ResNet")."""

from .timm import timm_backbone
from .torchvision import TorchvisionFeatures, TorchvisionResNet
from .vit import TimmViT

__all__ = ['TimmViT', 'TorchvisionFeatures', 'TorchvisionResNet', 'timm_backbone']
