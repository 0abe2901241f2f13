"""Rotary positions (RoPE): queries and keys are turned by angles that grow with their coordinates."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from densecl.numerics import full_precision


def rotary_table(coordinates: Tensor, frequencies: Tensor) -> Tensor:
    """Sines, then cosines, of each channel's angle: (..., N, 2) and (2, D) -> (..., N, 2 D).

    The angle of channel c at coordinates (y, x) is y f[0, c] + x f[1, c]. The table is for timm's
    ``apply_rot_embed_cat(half=True)``, which turns the channels c and c + D / 2 as a pair.
    """
    y, x = full_precision(coordinates)[..., None].unbind(-2)  # (..., N, 1)
    angles = y * frequencies[0] + x * frequencies[1]
    return torch.cat([angles.sin(), angles.cos()], -1)


def dinov3_frequencies(dim: int, temperature: float = 100.0) -> Tensor:
    """Angular frequencies of y and x, (2, D) float32 (DINOv3, Siméoni et al., 2025).

    The four quarters of a head's D channels turn with y, x, y, x. Each quarter has the periods
    temperature^(4 i / D), i from 0 to D / 4 - 1.
    """
    turns = temperature ** -(4 * torch.arange(dim // 4, dtype=torch.float64) / dim)
    zero = torch.zeros_like(turns)
    rows = [torch.cat([turns, zero] * 2), torch.cat([zero, turns] * 2)]
    return (2 * math.pi * torch.stack(rows)).float()


def capi_frequencies(dim: int, highest: float = 7.0, lowest: float = 7e-4) -> Tensor:
    """Angular frequencies of y and x, (2, D) float32 (CAPI, Darcet et al., 2025).

    The first half of a head's D channels turns with y, the second with x. Each quarter has the same
    geometric sequence of frequencies, from ``highest`` to ``lowest``, in turns per unit of coordinate.
    """
    steps = torch.arange(dim // 4, dtype=torch.float64) / max(dim // 4 - 1, 1)
    turns = (highest * (lowest / highest) ** steps).repeat(2)
    zero = torch.zeros_like(turns)
    return (2 * math.pi * torch.stack([torch.cat([turns, zero]), torch.cat([zero, turns])])).float()


def relative_centers(grid: Sequence[int], device: torch.device) -> Tensor:
    """(h w, 2), y and x of the centres of the cells, where each side of the grid is [-1, 1] (DINOv3)."""
    return _every([(2 * torch.arange(n, device=device) + 1) / n - 1 for n in grid])


def cell_corners(grid: Sequence[int], device: torch.device) -> Tensor:
    """(h w, 2), y and x of the cells: along each side, the first cell is at 0 and the last at 1 (CAPI)."""
    return _every([torch.arange(n, device=device) / max(n - 1, 1) for n in grid])


def _every(sides: list[Tensor]) -> Tensor:
    return torch.stack(torch.meshgrid(*sides, indexing='ij'), -1).flatten(0, 1)


def border(count: int, seen: Tensor) -> Tensor:
    """Coordinates of CAPI's registers, (..., count, 2): spread over the bounding box of the visible patches.

    Each side of the box has count / 4 registers, equally spaced; ``count`` is a multiple of 4. ``seen``
    (..., N, 2) has the coordinates of the visible patches.
    """
    along = torch.arange(count // 4, device=seen.device) / (count // 4)
    zero = torch.zeros_like(along)
    sides = ((along, zero), (zero + 1, along), (1 - along, zero + 1), (zero, 1 - along))
    unit = torch.cat([torch.stack(side, 1) for side in sides])
    low, high = seen.amin(-2, keepdim=True), seen.amax(-2, keepdim=True)
    return low + unit * (high - low)


class Rotary(nn.Module):
    """Tables by which the blocks of a transformer turn queries and keys, made on the device of the tokens.

    timm's own module for DINOv3 makes coordinates and random numbers on the host.

    Args:
        dim: channels of an attention head, a multiple of 4.
        kind: ``'dinov3'``: class and register tokens are not turned; or ``'capi'``: registers are turned by
            their coordinates, see :func:`border`.
        registers: number of register tokens with coordinates, a multiple of 4; 0 with ``'dinov3'``.
        temperature: sets DINOv3's periods, see :func:`dinov3_frequencies`.
        rescale: in training, all coordinates are multiplied by a factor that is log-uniform in
            [1 / rescale, rescale] and drawn for each block (DINOv3: 2). None: they are not. A momentum
            target never rescales.
    """

    def __init__(
        self,
        dim: int,
        kind: str = 'dinov3',
        registers: int = 0,
        temperature: float = 100.0,
        rescale: float | None = None,
    ) -> None:
        super().__init__()
        if dim % 4:
            raise ValueError(f'rotary positions need heads of a multiple of 4 channels, got {dim}')
        if registers % 4:
            raise ValueError(f'registers on the border need a multiple of 4 of them, got {registers}')
        if rescale is not None and not rescale >= 1:
            raise ValueError(f'rope_rescale must be a factor of at least 1, or None, got {rescale!r}')
        self.kind, self.registers, self.rescale = kind, registers, rescale
        made = capi_frequencies(dim) if kind == 'capi' else dinov3_frequencies(dim, temperature)
        self.register_buffer('frequencies', made, persistent=False)

    def coordinates(self, grid: Sequence[int], places: Tensor | None = None) -> Tensor:
        """(N, 2) of all patches of a grid, or (B, N, 2) of the patches ``places`` (B, N) of each image."""
        cells = cell_corners if self.kind == 'capi' else relative_centers
        every = cells(grid, self.frequencies.device)
        return every if places is None else every[places]

    def context(self, grid: Sequence[int], places: Tensor | None = None) -> Tensor:
        """The coordinates of all tokens that have them: registers, if any, then patches as above."""
        found = self.coordinates(grid, places)
        return torch.cat([border(self.registers, found), found], -2) if self.registers else found

    def table(self, coordinates: Tensor) -> Tensor:
        """(N, 2) -> (N, 2 D); or for each image, (B, N, 2) -> (B, 1, N, 2 D). All heads share a table."""
        found = rotary_table(coordinates, self.frequencies)
        return found if found.ndim == 2 else found[:, None]

    def tables(self, grid: Sequence[int], blocks: int, places: Tensor | None = None) -> list[Tensor]:
        """One table for each block."""
        coordinates = self.context(grid, places)
        if not self.training or self.rescale is None:
            return [self.table(coordinates)] * blocks
        most = math.log(self.rescale)
        factors = torch.empty(blocks, device=coordinates.device).uniform_(-most, most).exp()
        return [self.table(coordinates * factor) for factor in factors.unbind()]
