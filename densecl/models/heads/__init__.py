"""The head of every method, and the auxiliary head for segmentors."""

from .head import Head, Result, is_trained
from .pairs import Pair
from .pixel_contrast import PixelContrastHead
from .probe import LinearProbe
from .units import assign_levels

__all__ = [
    'Head',
    'LinearProbe',
    'Pair',
    'PixelContrastHead',
    'Result',
    'assign_levels',
    'is_trained',
]
