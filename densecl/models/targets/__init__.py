"""What a head can compare with beside another branch: functions of the images, not trained."""

from .pixels import Pixels

__all__ = ['Pixels']
