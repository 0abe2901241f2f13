"""Units of comparison: one file a unit. A head takes encoded views and returns a loss."""

from densecl.models.necks import PixelPropagation

from .base import PretrainHead
from .dense import DenseHead
from .image import ImageHead
from .local import LocalHead
from .masks import MaskHead
from .multilevel import MultiLevelHead
from .objects import ObjectHead, assign_levels
from .patches import PatchesHead
from .pixel import PixelHead, PooledHead
from .pixel_contrast import PixelContrastHead
from .probe import LinearProbe
from .prototypes import PrototypeHead
from .regions import RegionHead
from .windows import WindowHead

__all__ = [
    'DenseHead',
    'ImageHead',
    'LinearProbe',
    'LocalHead',
    'MaskHead',
    'MultiLevelHead',
    'ObjectHead',
    'PatchesHead',
    'PixelContrastHead',
    'PixelHead',
    'PixelPropagation',
    'PooledHead',
    'PretrainHead',
    'PrototypeHead',
    'RegionHead',
    'WindowHead',
    'assign_levels',
]
