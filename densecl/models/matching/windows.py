"""Which places of a view share an area with its windows (ReSim)."""

import torch
from torch import Tensor


def pooled_boxes(
    grid: tuple[int, int], pool: tuple[int, int], size: tuple[int, int], device: torch.device | None = None
) -> Tensor:
    """What each position of a map that was average-pooled with stride 1 covers of the view.

    Args:
        grid: height and width of the map before, in cells.
        pool: height and width of the pooled neighbourhood in cells.
        size: height and width of the view in pixels.
        device: where to make them.

    Returns:
        float64 (P, 4), x1, y1, x2, y2 in pixels of the view, row by row.
    """
    y, x = (
        torch.arange(n - p + 1, dtype=torch.float64, device=device) for n, p in zip(grid, pool, strict=True)
    )
    x, y = (corner.flatten() for corner in torch.meshgrid(x, y, indexing='xy'))
    across, down = size[1] / grid[1], size[0] / grid[0]
    return torch.stack([x * across, y * down, (x + pool[1]) * across, (y + pool[0]) * down], 1)


def share_area(boxes: Tensor, others: Tensor) -> Tensor:
    """Which boxes overlap, (B, W, 4) and (P, 4) -> bool (B, W, P); to touch is not to overlap."""
    x1, y1, x2, y2 = boxes[:, :, None].unbind(-1)
    a1, b1, a2, b2 = others.unbind(-1)
    return (x1 < a2) & (a1 < x2) & (y1 < b2) & (b1 < y2)
