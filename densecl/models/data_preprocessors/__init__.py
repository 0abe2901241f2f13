"""Data preprocessors: a collated batch goes to the device, is augmented there and normalised."""

from .cut import CutPatches
from .photometric import apply_photometric
from .pretrain import PretrainDataPreprocessor

__all__ = ['CutPatches', 'PretrainDataPreprocessor', 'apply_photometric']
