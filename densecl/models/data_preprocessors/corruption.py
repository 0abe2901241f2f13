"""Corruption of a batch on the device: masked pixels are replaced."""

import torch
from torch import Tensor

from densecl.colors import gray_of
from densecl.structures import Corruption

from .photometric_bands import add_noise


def corrupt(images: Tensor, mask: Tensor, corruption: Corruption, mean: Tensor, std: Tensor) -> Tensor:
    """The images with the masked pixels replaced by zeros, by noise, by those of a donor, or by their grey.

    Args:
        images: float (B, C, H, W), normalised.
        mask: (B, h, w) bool over patches that fill the images, True = replaced.
        corruption: of B samples, on the CPU.
        mean, std: (C, 1, 1) of the normalisation, on the scale 0..255; grey needs RGB.

    Returns:
        (B, C, H, W), a copy. The noise of a sample depends on its seed, not on the batch that it is in.
    """
    donors, given = (torch.from_numpy(x).to(images.device, non_blocking=True) for x in corruption.donors())
    filling = images.index_select(0, donors).masked_fill_(~given[:, None, None, None], 0)
    seeds = torch.from_numpy(corruption.noise_seed)
    filling = add_noise(filling, (seeds >= 0).float(), seeds, torch.ones((), device=images.device))
    if corruption.gray.any():
        chosen = torch.from_numpy(corruption.gray).to(images.device, non_blocking=True)
        filling = torch.where(chosen[:, None, None, None], grayed(images, mean, std), filling)
    rows, columns = (side // cells for side, cells in zip(images.shape[2:], mask.shape[1:], strict=True))
    replaced = mask.repeat_interleave(rows, 1).repeat_interleave(columns, 2)[:, None]
    return torch.where(replaced, filling, images)


def grayed(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalised (B, 3, H, W) -> the same photos in grey of equal lightness L, normalised."""
    gray = gray_of((images * std + mean) / 255) * 255
    return ((gray - mean) / std).to(images.dtype)
