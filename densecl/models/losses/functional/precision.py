"""See :mod:`densecl.numerics`."""

from densecl.numerics import full_precision, no_autocast, unit

__all__ = ['full_precision', 'no_autocast', 'unit']
