"""What a head can compare with beside another branch: functions of the images, not trained."""

from .pixels import Pixels
from .tokens import KMeansTokens

__all__ = ['KMeansTokens', 'Pixels']
