"""sRGB and CIE L*a*b* (1976), white point D65 of the 2 degree observer: plain functions of (..., 3, H, W).

Sums are written out, channel by channel: a matrix would be a constant to be moved to the device.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from densecl.numerics import full_precision

#: Linear R, G, B -> X, Y, Z (Rec. 709 primaries). Its rows add up to the white point: greys have a = b = 0.
TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_TO_RATIOS = [[value / sum(row) for value in row] for row in TO_XYZ]
_FROM_RATIOS = np.linalg.inv(_TO_RATIOS).tolist()
_BEND = 6 / 29  # of the cube root, below which it is a straight line


def linear_of(rgb: Tensor) -> Tensor:
    """sRGB in [0, 1] -> linear light in [0, 1] (IEC 61966-2-1)."""
    return torch.where(rgb > 0.04045, ((rgb.clamp(min=0) + 0.055) / 1.055) ** 2.4, rgb / 12.92)


def srgb_of(light: Tensor) -> Tensor:
    """Linear light -> sRGB, what :func:`linear_of` undoes."""
    curved = 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light > 0.0031308, curved, light * 12.92)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """(..., 3, H, W) sRGB in [0, 1] -> L in [0, 100], a and b in about [-110, 110]."""
    ratios = _mixed(linear_of(full_precision(rgb)), _TO_RATIOS)
    curved, straight = ratios.clamp(min=_BEND**3) ** (1 / 3), ratios / (3 * _BEND**2) + 4 / 29
    x, y, z = torch.where(ratios > _BEND**3, curved, straight).unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -3)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """What :func:`rgb_to_lab` undoes; colours that sRGB does not have come out below 0 or above 1."""
    lightness, a, b = full_precision(lab).unbind(-3)
    y = (lightness + 16) / 116
    roots = torch.stack([y + a / 500, y, y - b / 200], -3)
    ratios = torch.where(roots > _BEND, roots**3, (roots - 4 / 29) * (3 * _BEND**2))
    return srgb_of(_mixed(ratios, _FROM_RATIOS))


def gray_of(rgb: Tensor) -> Tensor:
    """(..., 3, H, W) sRGB in [0, 1] -> (..., 1, H, W), the grey of the same lightness L."""
    return srgb_of(_mixed(linear_of(full_precision(rgb)), TO_XYZ[1:2]))


def _mixed(channels: Tensor, rows: Sequence[Sequence[float]]) -> Tensor:
    """(..., 3, H, W) -> (..., R, H, W), weighted sums of the channels."""
    parts = channels.unbind(-3)
    return torch.stack([sum(w * x for w, x in zip(row, parts, strict=True)) for row in rows], -3)
