"""Data preprocessors: a collated batch goes to the device, is augmented there and normalised."""

from .photometric import apply_photometric
from .pretrain import PretrainDataPreprocessor

__all__ = ['PretrainDataPreprocessor', 'apply_photometric']
