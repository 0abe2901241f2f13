"""Adapters for backbones of other libraries; mmdet's and mmseg's come by scope ("mmdet.ResNet")."""

from .dalle import DALLEEncoder
from .linear_level import LinearLevel
from .timm import TimmViT, timm_backbone
from .torchvision import TorchvisionFeatures, TorchvisionResNet
from .vitdet import ViTDet

__all__ = [
    'DALLEEncoder',
    'LinearLevel',
    'TimmViT',
    'TorchvisionFeatures',
    'TorchvisionResNet',
    'ViTDet',
    'timm_backbone',
]
