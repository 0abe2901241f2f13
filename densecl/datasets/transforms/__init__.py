"""Transforms: one decoded image becomes the views of one :class:`PretrainDataSample`."""

from .centre import CentreCrop
from .crop import resize_crop, sample_crop
from .jigsaw import JigsawPatches
from .multi_view import MultiView
from .objects import WHOLE_IMAGE, ObjectViews, SelectProposals
from .photometric import Photometric
from .photometric_uint8 import apply_photometric_uint8
from .randaugment import RandAugmentView
from .recipe import DrawnView, ViewRecipe
from .select_masks import SelectMasks

__all__ = [
    'WHOLE_IMAGE',
    'CentreCrop',
    'DrawnView',
    'JigsawPatches',
    'MultiView',
    'ObjectViews',
    'Photometric',
    'RandAugmentView',
    'SelectMasks',
    'SelectProposals',
    'ViewRecipe',
    'apply_photometric_uint8',
    'resize_crop',
    'sample_crop',
]
