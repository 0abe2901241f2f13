"""Projectors, predictors and decoders."""

from .attention_pool import AttentionPool2d
from .box_projector import BoxProjector, StageProjector
from .cross_attention import CrossAttentionPredictor
from .decoders import BottleneckDecoder, PixelDecoder, TransformerDecoder
from .detector_heads import DetectorHeads
from .first_channels import FirstChannels
from .levels import ImagePatchProjectors, LevelProjectors, PatchProjector
from .mlp import MLP, ConvMLP
from .norms import LayerNorm2d
from .partial_fpn import PartialFPN
from .positions import PositionPredictor
from .propagation import PixelPropagation
from .prototypes import PrototypeProjector
from .quantizer import QuantizedDecoder, VectorQuantizer
from .simple_pyramid import USUAL_STRIDES, SimpleFeaturePyramid, pyramid_strides
from .slots import SlotProjector
from .sparse_decoders import ConvNeXtDecoder, UNetDecoder

__all__ = [
    'AttentionPool2d',
    'BottleneckDecoder',
    'BoxProjector',
    'ConvMLP',
    'CrossAttentionPredictor',
    'ConvNeXtDecoder',
    'DetectorHeads',
    'FirstChannels',
    'ImagePatchProjectors',
    'LayerNorm2d',
    'LevelProjectors',
    'MLP',
    'PartialFPN',
    'PatchProjector',
    'PixelDecoder',
    'PixelPropagation',
    'PositionPredictor',
    'PrototypeProjector',
    'QuantizedDecoder',
    'SimpleFeaturePyramid',
    'USUAL_STRIDES',
    'pyramid_strides',
    'SlotProjector',
    'StageProjector',
    'TransformerDecoder',
    'UNetDecoder',
    'VectorQuantizer',
]
