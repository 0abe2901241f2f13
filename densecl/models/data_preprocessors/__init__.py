"""Data preprocessors: a collated batch goes to the device, is augmented there and normalised."""

from .photometric import apply_photometric
from .photometric_bands import apply_gamma_and_noise, apply_photometric_bands
from .pretrain import PretrainDataPreprocessor
from .sensor import sensor_data_preprocessor

__all__ = [
    'PretrainDataPreprocessor',
    'apply_gamma_and_noise',
    'apply_photometric',
    'apply_photometric_bands',
    'sensor_data_preprocessor',
]
