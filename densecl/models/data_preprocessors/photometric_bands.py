"""Photometric augmentation of batches from any sensor: each channel by itself, and no changes of colour.

Images are float (B, C, H, W) on the scale of the sensor. Nothing is clamped: an outlier is a measurement,
and values have no common limits. Gamma and noise are also for 8-bit RGB, after colours, blur and solarise.
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
        params: of B samples, on the CPU. Hue, saturation, grey and solarise are not applied; for gamma and
            noise, see :func:`apply_gamma_and_noise`.
        low: (C, 1, 1), the value of each channel that is black.
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
    """Multiply the distance from the channel's mean over the view by ``factor`` (B,)."""
    return torch.lerp(images.mean((2, 3), keepdim=True), images, factor.view(-1, 1, 1, 1))


def apply_gamma_and_noise(
    images: Tensor, params: PhotometricParams, low: Tensor, high: Tensor, std: Tensor
) -> Tensor:
    """Apply gamma, then noise, with every sample's own parameters, in place; returns the images.

    Args:
        images: float (B, C, H, W); 8-bit RGB on the scale 0..255.
        params: of B samples, on the CPU.
        low, high: (C, 1, 1), the values of each channel that are black and white.
        std: (C, 1, 1), standard deviation of each channel in the data: the unit of the noise.
    """
    gamma = functools.partial(gamma_bands, low=low, high=high)
    run_steps(images, found_steps([(gamma, params.gamma != 1, params.gamma)]))
    return add_noise(images, params.noise, params.noise_seed, std)


def gamma_bands(images: Tensor, exponent: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Gamma between black and white, with ``exponent`` (B,) above 0.

    With t = (value - low) / (high - low), values with t in [0, 1] become low + (high - low) t^exponent.
    Values below black or above white do not change, so the curve is continuous and rises everywhere.
    """
    span = high - low
    share = ((images - low) / span.clamp(min=torch.finfo(images.dtype).tiny)).clamp_(0, 1)
    return torch.addcmul(images, span, share.pow(exponent.view(-1, 1, 1, 1)) - share)


def add_noise(images: Tensor, sigma: Tensor, seed: Tensor, std: Tensor) -> Tensor:
    """Add Gaussian noise with standard deviation ``sigma * std``, in place; returns the images.

    The noise of a sample depends on its seed and the kind of device, not on the batch that it is in.

    Args:
        images: float (B, C, H, W).
        sigma: (B,), on the CPU; 0: no noise.
        seed: (B,) int64, on the CPU.
        std: (C, 1, 1).
    """
    noisy = sigma.nonzero().flatten().tolist()
    generator = torch.Generator(images.device) if noisy else None
    for i in noisy:
        generator.manual_seed(int(seed[i]))
        noise = torch.randn(images.shape[1:], generator=generator, device=images.device)
        images[i].addcmul_(noise, std, value=float(sigma[i]))
    return images
