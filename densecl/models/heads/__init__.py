"""Units of comparison: one file a unit. A head takes encoded views and returns a loss."""

from .base import PretrainHead
from .dense import DenseHead
from .image import ImageHead

__all__ = ['DenseHead', 'ImageHead', 'PretrainHead']
