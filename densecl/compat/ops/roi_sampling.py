"""Bilinear samples on the bins of a region, for what torchvision's RoIAlign does not cover."""

import math

import torch
from torch import Tensor


def bilinear(feature: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Sample a feature map with RoIAlign's border rule; differentiable in all arguments.

    Args:
        feature: (C, H, W), cell centers at whole numbers.
        y: Rows, (C, S) or (1, S).
        x: Columns, like ``y``.

    Returns:
        (C, S). Up to one cell outside the map repeats its border, beyond that lies zero.
    """
    channels, height, width = feature.shape
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.detach().floor().long(), x.detach().floor().long()
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    dy, dx = y - top, x - left
    cells = feature.flatten(1)

    def at(row: Tensor, column: Tensor) -> Tensor:
        return cells.gather(1, (row * width + column).expand(channels, -1))

    upper = at(top, left) * (1 - dx) + at(top, right) * dx
    lower = at(bottom, left) * (1 - dx) + at(bottom, right) * dx
    return (upper * (1 - dy) + lower * dy) * inside


def bin_positions(
    corners: list[float], shape: tuple[int, int], sampling_ratio: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return where a region is sampled.

    Args:
        corners: x1, y1, x2, y2 in cells.
        shape: Bins vertically and horizontally.
        sampling_ratio: Samples per bin and axis, 0 for as many as cells.
        like: Tensor whose type and device the result has.

    Returns:
        Rows and columns, each (bins vertically, bins horizontally, samples).
    """
    x1, y1, x2, y2 = corners
    y = _axis_positions(y1, y2, shape[0], sampling_ratio, like)[:, None, :, None]
    x = _axis_positions(x1, x2, shape[1], sampling_ratio, like)[None, :, None, :]
    y, x = torch.broadcast_tensors(y, x)
    return y.flatten(2), x.flatten(2)


def region_corners(rois: Tensor, spatial_scale: float, aligned: bool) -> list[list[float]]:
    """Return x1, y1, x2, y2 in cells for each of (K, 5) regions in image pixels."""
    corners = rois[:, 1:] * spatial_scale
    if aligned:
        return (corners - 0.5).tolist()
    # Before alignment was introduced, regions below one cell were widened to one.
    near, far = corners[:, :2], corners[:, 2:]
    return torch.cat([near, torch.maximum(far, near + 1)], dim=1).tolist()


def _axis_positions(start: float, end: float, bins: int, ratio: int, like: Tensor) -> Tensor:
    """Return (bins, samples) positions along one axis."""
    size = (end - start) / bins
    samples = ratio if ratio > 0 else max(math.ceil(size), 1)
    steps = torch.arange(bins * samples, dtype=like.dtype, device=like.device).view(bins, samples)
    return start + (steps + 0.5) * (size / samples)
