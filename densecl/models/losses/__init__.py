"""Objectives: ``functional`` holds the mathematics, the modules add state."""

from . import functional
from .info_nce import InfoNCE

__all__ = ['InfoNCE', 'functional']
