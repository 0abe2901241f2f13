"""Transforms: one decoded image becomes the views of one :class:`PretrainDataSample`."""

from .crop import resize_crop, sample_crop
from .multi_view import MultiView, ViewRecipe
from .photometric import Photometric
from .photometric_uint8 import apply_photometric_uint8

__all__ = [
    'MultiView',
    'Photometric',
    'ViewRecipe',
    'apply_photometric_uint8',
    'resize_crop',
    'sample_crop',
]
