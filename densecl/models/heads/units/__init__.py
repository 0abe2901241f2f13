"""The units that a head compares, one file for each kind."""

from .base import Set, UnitProducer, kind_of, view_of
from .boxes import Boxes, Masks, assign_levels
from .cells import Cells, LabelledCells
from .detector_boxes import DetectorBoxes
from .foreground import CellPrototypes, foreground_of
from .groups import Groups
from .image import Image, ImageWithHard, Prototypes
from .masked import AskedCells, DecodedCells, MaskedCells
from .objects import JointObjects
from .patches import Patches, PatchSet
from .quantized import QuantizedCells
from .tokens import TokenPrototypes
from .windows import Windows

__all__ = [
    'AskedCells',
    'Boxes',
    'CellPrototypes',
    'Cells',
    'DecodedCells',
    'DetectorBoxes',
    'Groups',
    'Image',
    'ImageWithHard',
    'JointObjects',
    'LabelledCells',
    'MaskedCells',
    'Masks',
    'PatchSet',
    'Patches',
    'Prototypes',
    'QuantizedCells',
    'Set',
    'TokenPrototypes',
    'UnitProducer',
    'Windows',
    'assign_levels',
    'foreground_of',
    'kind_of',
    'view_of',
]
