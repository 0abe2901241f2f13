"""What a head can compare with beside another branch, not trained: functions of the images, known answers."""

from .known import Known
from .network import FrozenNetwork, TeacherFeatures
from .pixels import Pixels
from .positions import Positions
from .tokens import DALLETokens, KMeansTokens, Tokens, VQKDTokens

__all__ = [
    'DALLETokens',
    'FrozenNetwork',
    'KMeansTokens',
    'Known',
    'Pixels',
    'Positions',
    'TeacherFeatures',
    'Tokens',
    'VQKDTokens',
]
