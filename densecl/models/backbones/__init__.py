"""Backbones. Those of mmdet and mmseg need no adapter: a config names them with scope, ``mmdet.ResNet``."""

from .dalle import DALLEEncoder
from .linear_level import LinearLevel
from .strided import Discriminator, StridedConvs
from .timm import TimmViT, timm_backbone
from .torchvision import TorchvisionFeatures, TorchvisionResNet
from .vitdet import ViTDet

__all__ = [
    'DALLEEncoder',
    'Discriminator',
    'LinearLevel',
    'StridedConvs',
    'TimmViT',
    'TorchvisionFeatures',
    'TorchvisionResNet',
    'ViTDet',
    'timm_backbone',
]
