"""Transforms: one decoded image becomes the views of one :class:`PretrainDataSample`."""

from .centre import CentreCrop
from .crop import resize_crop, sample_crop
from .jigsaw import JigsawPatches
from .multi_view import MultiView
from .photometric import Photometric
from .photometric_uint8 import apply_photometric_uint8
from .recipe import DrawnView, ViewRecipe

__all__ = [
    'CentreCrop',
    'DrawnView',
    'JigsawPatches',
    'MultiView',
    'Photometric',
    'ViewRecipe',
    'apply_photometric_uint8',
    'resize_crop',
    'sample_crop',
]
