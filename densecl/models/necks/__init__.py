"""Projectors, predictors and decoders."""

from .box_projector import BoxProjector, StageProjector
from .decoders import CrossAttentionPredictor, TransformerDecoder
from .levels import ImagePatchProjectors, LevelProjectors, PatchProjector
from .mlp import MLP, ConvMLP
from .partial_fpn import PartialFPN
from .propagation import PixelPropagation
from .prototypes import PrototypeProjector
from .simple_pyramid import LayerNorm2d, SimpleFeaturePyramid
from .slots import SlotProjector
from .sparse_decoders import ConvNeXtDecoder, UNetDecoder

__all__ = [
    'BoxProjector',
    'ConvMLP',
    'CrossAttentionPredictor',
    'ConvNeXtDecoder',
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
    'TransformerDecoder',
    'UNetDecoder',
]
