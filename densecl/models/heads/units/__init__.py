"""What is compared: one file a kind of unit."""

from .base import Set, UnitProducer, cells, kind_of, pool, view_of
from .boxes import Boxes, assign_levels
from .cells import Cells
from .groups import Groups
from .image import Image
from .masks import Masks
from .patches import Patches
from .prototypes import Prototypes
from .windows import Windows

__all__ = [
    'Boxes',
    'Cells',
    'Groups',
    'Image',
    'Masks',
    'Patches',
    'Prototypes',
    'Set',
    'UnitProducer',
    'Windows',
    'assign_levels',
    'cells',
    'kind_of',
    'pool',
    'view_of',
]
