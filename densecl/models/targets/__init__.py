"""Targets of a head other than the target branch: functions of the images, known answers, texts."""

from .color_bins import ColorBins
from .known import Known
from .network import FrozenNetwork, TeacherFeatures
from .pixels import Pixels
from .positions import Positions
from .text import Text
from .tokens import DALLETokens, KMeansTokens, Tokens, VQKDTokens

__all__ = [
    'ColorBins',
    'DALLETokens',
    'FrozenNetwork',
    'KMeansTokens',
    'Known',
    'Pixels',
    'Positions',
    'TeacherFeatures',
    'Text',
    'Tokens',
    'VQKDTokens',
]
