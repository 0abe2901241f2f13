"""Data preprocessors: they move a collated batch to the device, augment it there and normalise it."""

from .photometric import apply_photometric
from .photometric_bands import apply_gamma_and_noise, apply_photometric_bands
from .photometric_pixels import apply_pixel_operators
from .pretrain import PretrainDataPreprocessor
from .sensor import sensor_data_preprocessor
from .text import TextPreprocessor

__all__ = [
    'PretrainDataPreprocessor',
    'TextPreprocessor',
    'apply_gamma_and_noise',
    'apply_photometric',
    'apply_photometric_bands',
    'apply_pixel_operators',
    'sensor_data_preprocessor',
]
