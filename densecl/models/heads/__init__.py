"""Units of comparison: one file a unit. A head takes encoded views and returns a loss."""

from .base import PretrainHead
from .dense import DenseHead
from .image import ImageHead
from .patches import PatchesHead
from .probe import LinearProbe
from .prototypes import PrototypeHead

__all__ = ['DenseHead', 'ImageHead', 'LinearProbe', 'PatchesHead', 'PretrainHead', 'PrototypeHead']
