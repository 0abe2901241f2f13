"""Noise in units of the range, salt and pepper, and the Sobel filter, of any number of channels.

What is random comes from each sample's own seed: it depends on the seed and on the kind of device, not on
the batch. A data worker draws other numbers from the same seed (``photometric_uint8.py``).
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
    """Apply them in this order with every sample's own parameters, in place; returns the images.

    Args:
        images: float (B, C, H, W), of 8-bit RGB on the scale 0..255.
        params: of B samples, on the CPU.
        low, high: (C, 1, 1), the values that are black and white in each channel.
        limited: values beyond the two are cut off, as 8-bit ones are.
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
    """A quarter of the length of each channel's Sobel gradient, above ``low``; mirrored at the border.

    Args:
        images: float (B, C, H, W), H and W at least 2.
        low: (C, 1, 1), black; ``high`` white, where the result is cut off, or None.
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
