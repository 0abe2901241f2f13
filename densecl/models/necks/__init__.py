"""Projectors and predictors."""

from .box_projector import BoxProjector, StageProjector
from .decoders import TransformerDecoder
from .levels import ImagePatchProjectors, LevelProjectors, PatchProjector
from .mlp import MLP, ConvMLP
from .partial_fpn import PartialFPN
from .propagation import PixelPropagation
from .prototypes import PrototypeProjector
from .simple_pyramid import LayerNorm2d, SimpleFeaturePyramid
from .slots import SlotProjector

__all__ = [
    'TransformerDecoder',
    'BoxProjector',
    'ConvMLP',
    'ImagePatchProjectors',
    'LayerNorm2d',
    'LevelProjectors',
    'MLP',
    'PartialFPN',
    'PatchProjector',
    'PixelPropagation',
    'PrototypeProjector',
    'SimpleFeaturePyramid',
    'SlotProjector',
    'StageProjector',
]
