"""The head that every method uses, and an auxiliary head for segmentors."""

from .head import Head, Result
from .needs import is_trained
from .pair_weights import GivenQuality, PairQuality, foreground, pair_quality, quality_weights
from .pairs import Pair
from .pixel_contrast import PixelContrastHead
from .probe import LinearProbe
from .units import assign_levels

__all__ = [
    'GivenQuality',
    'Head',
    'LinearProbe',
    'Pair',
    'PairQuality',
    'PixelContrastHead',
    'Result',
    'assign_levels',
    'foreground',
    'is_trained',
    'pair_quality',
    'quality_weights',
]
