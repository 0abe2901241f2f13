"""What a head can compare with beside another branch: functions of the images, not trained."""

from .network import FrozenNetwork, TeacherFeatures
from .pixels import Pixels
from .tokens import DALLETokens, KMeansTokens, Tokens, VQKDTokens

__all__ = [
    'DALLETokens',
    'FrozenNetwork',
    'KMeansTokens',
    'Pixels',
    'TeacherFeatures',
    'Tokens',
    'VQKDTokens',
]
