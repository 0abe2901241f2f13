"""Noise in units of the value range, salt and pepper, and the Sobel filter, for any number of channels.

Random numbers come from each sample's own seed: they depend on the seed and the kind of device, not on the
batch. A data worker draws other numbers from the same seed (``photometric_uint8.py``).
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.structures import PhotometricParams

from .photometric import found_steps, run_steps


def apply_pixel_operators(
    images: Tensor, params: PhotometricParams, low: Tensor, high: Tensor, limited: bool
) -> Tensor:
    """Apply noise, salt and pepper, and Sobel, in this order, in place; returns the images.

    Args:
        images: float (B, C, H, W); 8-bit RGB on the scale 0..255.
        params: of B samples, each with its own parameters, on the CPU.
        low, high: (C, 1, 1), the values of each channel that are black and white.
        limited: clamp results to ``low`` and ``high``, as for 8-bit images.
    """
    if not (params.pixel_seed >= 0).any():
        return images
    for i, (sigma, share, seed) in enumerate(
        zip(params.range_noise.tolist(), params.salt_pepper.tolist(), params.pixel_seed.tolist(), strict=True)
    ):
        if sigma or share:
            generator = torch.Generator(images.device).manual_seed(seed)
            _noise(images[i], sigma, generator, low, high, limited)
            _salt_and_pepper(images[i], share, generator, low, high)
    operator = functools.partial(sobel, low=low, high=high if limited else None)
    return run_steps(images, found_steps([(operator, params.sobel, params.sigma)]))


def _noise(
    image: Tensor, sigma: float, generator: torch.Generator, low: Tensor, high: Tensor, limited: bool
) -> None:
    if not sigma:
        return
    noise = torch.randn(image.shape, generator=generator, device=image.device)
    image.addcmul_(noise, high - low, value=sigma)
    if limited:
        image.copy_(image.maximum(low).minimum(high))


def _salt_and_pepper(
    image: Tensor, share: float, generator: torch.Generator, low: Tensor, high: Tensor
) -> None:
    if not share:
        return
    drawn = torch.rand(image.shape[1:], generator=generator, device=image.device)
    image.copy_(torch.where(drawn < share / 2, low, torch.where(drawn < share, high, image)))


def sobel(images: Tensor, _: Tensor | None = None, *, low: Tensor, high: Tensor | None) -> Tensor:
    """``low`` plus a quarter of the length of each channel's Sobel gradient; the border is mirrored.

    Args:
        images: float (B, C, H, W), H and W at least 2.
        low: (C, 1, 1), black.
        high: (C, 1, 1), white: the largest value of the result; None: no limit.
    """
    padded = F.pad(images, (1, 1, 1, 1), mode='reflect')
    across = _smoothed(padded[..., 2:] - padded[..., :-2], -2)
    down = _smoothed(padded[..., 2:, :] - padded[..., :-2, :], -1)
    edges = low + torch.hypot(across, down) / 4
    return edges if high is None else edges.minimum(high)


def _smoothed(x: Tensor, axis: int) -> Tensor:
    count = x.shape[axis] - 2
    before, here, after = (x.narrow(axis, start, count) for start in range(3))
    return before + 2 * here + after
