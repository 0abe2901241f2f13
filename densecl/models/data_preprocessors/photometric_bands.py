"""Photometric augmentation of batches from any sensor: a channel at a time, and without colours.

Images are floats (B, C, H, W) on the scale of the sensor. Nothing is clamped: an outlier is a measurement,
and values have no common limits.
"""

import functools

import torch
from torch import Tensor

from densecl.structures import PhotometricParams

from .photometric import blur, found_steps, run_steps


def apply_photometric_bands(images: Tensor, params: PhotometricParams, low: Tensor) -> Tensor:
    """Apply brightness, contrast and blur with every sample's own parameters, in place; returns the images.

    Args:
        images: float (B, C, H, W).
        params: of B samples, on the CPU; hue, saturation, grey and solarise are not applied.
        low: (C, 1, 1), the value that is black in each channel.
    """
    operators = (functools.partial(brightness_bands, low=low), contrast_bands)
    steps = [
        (operators[op], params.jitter & (ops == op), params.factors[:, op])
        for ops in params.order.unbind(1)
        for op in (0, 1)
    ]
    return run_steps(images, found_steps([*steps, (blur, params.sigma > 0, params.sigma)]))


def brightness_bands(images: Tensor, factor: Tensor, low: Tensor) -> Tensor:
    """Multiply the distance from black by ``factor`` (B,)."""
    return torch.lerp(low, images, factor.view(-1, 1, 1, 1))


def contrast_bands(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from each channel's mean in the view by ``factor`` (B,)."""
    return torch.lerp(images.mean((2, 3), keepdim=True), images, factor.view(-1, 1, 1, 1))
