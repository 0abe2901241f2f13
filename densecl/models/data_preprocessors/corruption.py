"""Corruption of a batch on the device: masked pixels are replaced."""

import torch
from torch import Tensor

from densecl.colors import gray_of
from densecl.structures import Corruption

from .photometric_bands import add_noise


def corrupt(images: Tensor, mask: Tensor, corruption: Corruption, mean: Tensor, std: Tensor) -> Tensor:
    """Replace masked pixels by zeros, by noise, by the pixels of a donor image, or by their own grey.

    Args:
        images: float (B, C, H, W), normalised.
        mask: (B, h, w) bool, True: the pixels of this patch are replaced. H and W are multiples of h and w.
        corruption: choices for the B samples, on the CPU. Noise is added to the pixels of a donor.
        mean, std: (C, 1, 1) of the normalisation, on the scale 0..255. Only grey uses them; it needs RGB.

    Returns:
        (B, C, H, W), a copy. The noise of a sample depends on its seed and the kind of device, not on the
        batch that it is in.
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
    """Normalised photos (B, 3, H, W) -> the same photos in grey with the same lightness L, normalised."""
    gray = gray_of((images * std + mean) / 255) * 255
    return ((gray - mean) / std).to(images.dtype)
