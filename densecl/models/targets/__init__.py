"""What a head can compare with beside another branch: functions of the images, not trained."""

from .network import FrozenNetwork, TeacherFeatures
from .pixels import Pixels
from .positions import Positions
from .tokens import DALLETokens, KMeansTokens, Tokens, VQKDTokens

__all__ = [
    'DALLETokens',
    'FrozenNetwork',
    'KMeansTokens',
    'Pixels',
    'Positions',
    'TeacherFeatures',
    'Tokens',
    'VQKDTokens',
]
