"""Measures, without labels, whether a backbone finds the same place again in a changed image."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.messages import check_choice
from densecl.numerics import unit

#: Possible changes of the second image.
CHANGES = ('photometric', 'scale', 'flip')


@dataclass(frozen=True)
class Correspondence:
    """Shares of cells, between 0 and 1.

    Attributes:
        accuracy: cells whose most similar cell is within one cell of the true place.
        chance: accuracy of a random match.
        same_index: cells that are wrongly matched to the cell with the same index: the network recognised
            position, not content. NaN if the same index is right everywhere.
    """

    accuracy: float
    chance: float
    same_index: float


def second_images(images: Tensor, change: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Change images in a known way.

    Args:
        images: (B, H, W, C), of any type.
        change: ``'photometric'``: a gain for each channel and an offset, clipped to the image's minimum and
            maximum; ``'scale'``: a window of half the side, enlarged by 2; ``'flip'``: horizontal.
        seed: seed of gains, offsets and windows; the global random state is not touched.

    Returns:
        the changed images, of the same shape, and ``affine``, (B, 2, 2): place p in the first image is at
        ``affine[:, 0] + affine[:, 1] * p`` in the second. Places are shares (y, x) of the image's sides.
    """
    generator = torch.Generator().manual_seed(seed)
    count, height, width = images.shape[:3]
    affine = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(count, 1, 1)
    if change == 'photometric':
        channels = images.shape[-1]
        gain = 0.6 + 0.8 * torch.rand(count, 1, 1, channels, generator=generator)
        offset = 0.25 * torch.rand(count, 1, 1, 1, generator=generator) - 0.125
        values = images.float()  # torch has no minimum and maximum of uint16
        low, high = (f((1, 2, 3), keepdim=True) for f in (values.amin, values.amax))
        middle = (low + high) / 2
        changed = (values - middle) * gain + middle + offset * (high - low)
        changed = torch.minimum(torch.maximum(changed, low), high)
        return _as(changed, images.dtype), affine
    if change == 'flip':
        affine[:, :, 1] = torch.tensor([1.0, -1.0])
        return images.flip(2), affine
    check_choice('change', change, CHANGES)  # 'scale' is left
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([height / 2, width / 2])
    corner = corner.floor()
    windows = torch.stack(
        [
            image[y : y + height // 2, x : x + width // 2]
            for image, (y, x) in zip(images, corner.int().tolist(), strict=True)
        ]
    )
    size = torch.tensor([height, width])
    part = torch.tensor([height // 2, width // 2])
    affine = torch.stack([-corner / part, (size / part).expand(count, 2)], 1)
    planes = windows.permute(0, 3, 1, 2).float()
    planes = F.interpolate(planes, (height, width), mode='bilinear', align_corners=False)
    return _as(planes.permute(0, 2, 3, 1), images.dtype), affine


def _as(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype) if dtype.is_floating_point else values.round().to(dtype)


@torch.no_grad()
def correspondence(first: Tensor, second: Tensor, affine: Tensor) -> Correspondence:
    """Compare the maps of images and of changed images.

    Args:
        first: (B, C, h, w), of any floating type.
        second: the same shape, of the changed images.
        affine: (B, 2, 2), see :func:`second_images`.

    Raises:
        ValueError: no cell of the first images is visible in the second ones.
    """
    grid = torch.tensor(first.shape[2:])
    places = _centres(*first.shape[2:])  # (h w, 2) shares of the sides
    true = affine[:, :1] + affine[:, 1:] * places  # (B, h w, 2)
    visible = ((true > 0) & (true < 1)).all(2)
    if not visible.any():
        raise ValueError('no cell of the first images lies in the second')
    # Distances in cells, the larger one of both axes: up to 1 is the true cell or a neighbour.
    apart = ((places - true[:, :, None]) * grid).abs().amax(3)  # (B, h w, h w)
    near = apart <= 1 + 1e-4  # tolerance for rounding
    a, b = (unit(maps.flatten(2).transpose(1, 2)) for maps in (first, second))
    matched = (a @ b.mT).argmax(2).to(near.device)  # (B, h w)
    hit = near.gather(2, matched[..., None])[..., 0]
    same = torch.arange(len(places)).expand_as(matched)
    wrong = visible & ~near.gather(2, same[..., None])[..., 0]
    positional = (matched == same)[wrong].float().mean()  # NaN if there is none
    chance = near.float().mean(2)[visible].mean()
    return Correspondence(hit[visible].float().mean().item(), chance.item(), positional.item())


def _centres(height: int, width: int) -> Tensor:
    """(h w, 2): centres of cells as shares (y, x) of the sides."""
    y, x = (torch.arange(side) / side + 0.5 / side for side in (height, width))
    return torch.cartesian_prod(y, x)
