"""Windows that slide over one view, and where the other view shows the same (ReSim)."""

import torch
from torch import Tensor

from densecl.structures import image_to_view, view_to_image

# Pixels by which a window may leave the view: rounding must not decide about one that ends on its border.
_ROUNDING = 1e-3


def sliding_windows(size: tuple[int, int], window: int, stride: int) -> Tensor:
    """Square windows from the upper left corner on that end before the view does (ReSim's official code).

    Args:
        size: height and width of the view in pixels.
        window: side in pixels.
        stride: pixels from one window to the next.

    Returns:
        float64 (W, 4), x1, y1, x2, y2, row by row. At 224 px ReSim's windows of 48 px with stride 32 are 36,
        those of 32 px with stride 24 are 64.

    Raises:
        ValueError: no window is smaller than the view.
    """
    if min(size) <= window:
        raise ValueError(
            f'sliding_windows: a window of {window} px does not fit into a view of {size[0]} x {size[1]} '
            'px; make window (and stride) smaller'
        )
    y, x = (torch.arange(0, side - window, stride, dtype=torch.float64) for side in size)
    corner = torch.stack(torch.meshgrid(x, y, indexing='xy'), -1).flatten(0, 1)
    return torch.cat([corner, corner + window], 1)


@torch.no_grad()
def windows_in_view(
    windows: Tensor,
    crops: Tensor,
    flipped: Tensor,
    size: tuple[int, int],
    other_crops: Tensor,
    other_flipped: Tensor,
    other_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Where the windows of one view lie in another view of the same images.

    Args:
        windows: (W, 4), x1, y1, x2, y2 in pixels of the one view.
        crops: (B, 4), what the one view shows, x1, y1, x2, y2 in pixels of the images.
        flipped: (B,) bool, whether it was mirrored.
        size: its height and width in pixels.
        other_crops: (B, 4), likewise of the other view.
        other_flipped: (B,) bool; each view has its own flip.
        other_size: height and width.

    Returns:
        float64 (B, W, 4) in pixels of the other view, and bool (B, W): whether it shows the whole window. A
        window that it does not show is replaced by the whole view, so that shapes are fixed.
    """
    corners = windows.double().unflatten(1, (2, 2)).flatten(0, 1).expand(len(crops), -1, -1)
    places = view_to_image(corners, crops.double(), flipped, size)
    places = image_to_view(places, other_crops.double(), other_flipped, other_size).unflatten(1, (-1, 2))
    near, far = places.amin(2), places.amax(2)  # a mirror swaps x
    limits = near.new_tensor([other_size[1], other_size[0]])
    inside = ((near >= -_ROUNDING) & (far <= limits + _ROUNDING)).all(-1)
    near, far = (x.clamp(min=0).minimum(limits) for x in (near, far))
    whole = torch.cat([torch.zeros_like(limits), limits])
    return torch.where(inside[..., None], torch.cat([near, far], -1), whole), inside


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
