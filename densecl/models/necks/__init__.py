"""Projectors and predictors."""

from .mlp import MLP, ConvMLP
from .patches import PatchProjector
from .prototypes import PrototypeProjector
from .simple_pyramid import LayerNorm2d, SimpleFeaturePyramid

__all__ = ['MLP', 'ConvMLP', 'LayerNorm2d', 'PatchProjector', 'PrototypeProjector', 'SimpleFeaturePyramid']
