"""Where the places of a pooled map lie in the view, and which boxes overlap (ReSim)."""

import torch
from torch import Tensor


def pooled_boxes(grid: tuple[int, int], pool: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """What each position of a map that was average-pooled with stride 1 covers of the view.

    Args:
        grid: height and width of the map before, in cells.
        pool: height and width of the pooled neighbourhood in cells.
        size: height and width of the view in pixels.

    Returns:
        float64 (P, 4), x1, y1, x2, y2 in pixels of the view, row by row.
    """
    y, x = (torch.arange(n - p + 1, dtype=torch.float64) for n, p in zip(grid, pool, strict=True))
    corner = torch.stack(torch.meshgrid(x, y, indexing='xy'), -1).flatten(0, 1)
    cell = corner.new_tensor([size[1] / grid[1], size[0] / grid[0]])
    return torch.cat([corner * cell, (corner + corner.new_tensor([pool[1], pool[0]])) * cell], 1)


def share_area(boxes: Tensor, others: Tensor) -> Tensor:
    """Which boxes overlap, (B, W, 4) and (P, 4) -> bool (B, W, P); to touch is not to overlap."""
    x1, y1, x2, y2 = boxes[:, :, None].unbind(-1)
    a1, b1, a2, b2 = others.unbind(-1)
    return (x1 < a2) & (a1 < x2) & (y1 < b2) & (b1 < y2)
