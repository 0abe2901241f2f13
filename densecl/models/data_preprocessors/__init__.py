"""Data preprocessors: a collated batch goes to the device, is augmented there and normalised."""

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
