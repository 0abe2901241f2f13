"""Transforms: they turn one decoded image into the views of one :class:`PretrainDataSample`."""

from .centre import CentreCrop, WholeImage
from .context import ContextPairs
from .corruption import Replacement
from .crop import resize_crop, sample_crop
from .drawn import Crop, DrawnView
from .jigsaw import JigsawPatches
from .mask_ratios import BatchRatios, RatioChoice
from .masking import (
    BlockMask,
    CellMask,
    CentreMask,
    Data2VecMask,
    GMMLMask,
    InverseBlockMask,
    RandomMask,
    RegionCutMask,
    ViewMask,
)
from .multi_view import MultiView
from .overlap_boxes import OverlapBoxes
from .photometric import Photometric
from .photometric_uint8 import apply_photometric_uint8
from .randaugment import RandAugmentView
from .recipe import ViewRecipe
from .rotated import RotatedView
from .select_boxes import SelectBoxes
from .select_masks import LargestMasks, SelectMasks
from .selector import WHOLE_IMAGE, ChosenViews
from .sliding_windows import SlidingWindows

__all__ = [
    'WHOLE_IMAGE',
    'BatchRatios',
    'BlockMask',
    'CellMask',
    'CentreMask',
    'CentreCrop',
    'ChosenViews',
    'ContextPairs',
    'Crop',
    'Data2VecMask',
    'DrawnView',
    'GMMLMask',
    'InverseBlockMask',
    'JigsawPatches',
    'LargestMasks',
    'MultiView',
    'OverlapBoxes',
    'Photometric',
    'RandAugmentView',
    'RandomMask',
    'RatioChoice',
    'RegionCutMask',
    'Replacement',
    'RotatedView',
    'SelectBoxes',
    'SelectMasks',
    'SlidingWindows',
    'ViewMask',
    'ViewRecipe',
    'WholeImage',
    'apply_photometric_uint8',
    'resize_crop',
    'sample_crop',
]
