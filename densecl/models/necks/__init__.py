"""Projectors and predictors."""

from .mlp import MLP, ConvMLP
from .patches import PatchProjector
from .propagation import PixelPropagation
from .prototypes import PrototypeProjector
from .simple_pyramid import LayerNorm2d, SimpleFeaturePyramid
from .slots import SlotProjector

__all__ = [
    'ConvMLP',
    'LayerNorm2d',
    'MLP',
    'PatchProjector',
    'PixelPropagation',
    'PrototypeProjector',
    'SimpleFeaturePyramid',
    'SlotProjector',
]
