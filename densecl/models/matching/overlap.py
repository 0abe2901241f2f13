"""Two views compared cell by cell: both read on one grid over the part of the image that they share."""

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.structures import cell_centers, image_to_view


def overlap_boxes(boxes: Tensor, other_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The part of the image that two crops share.

    Args:
        boxes: (B, 4), x1, y1, x2, y2.
        other_boxes: (B, 4), in the same frame.

    Returns:
        (B, 4) the rectangles, and (B,) bool where they have an area.
    """
    near = torch.maximum(boxes[:, :2], other_boxes[:, :2])
    far = torch.minimum(boxes[:, 2:], other_boxes[:, 2:])
    return torch.cat([near, far], 1), (far > near).all(1)


def sample_overlap(
    maps: Tensor,
    boxes: Tensor,
    flipped: Tensor,
    other_boxes: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """Read maps at the overlap of two views, as if neither had been mirrored.

    Called with either view's maps, it gives maps whose cells show the same places: cell (i, j) is that cell
    of a ``size`` grid over the overlap. Values between centres of cells are interpolated linearly, which
    reproduces a linear ramp exactly; beyond the outermost centres they are continued unchanged. One value a
    cell is read, at its centre: a ``size`` much coarser than the map's own grid skips cells.

    Args:
        maps: (B, C, H, W); gradients flow back to it.
        boxes: (B, 4), the crops that the maps see, x1, y1, x2, y2, of positive area.
        flipped: (B,) bool, whether these views were mirrored.
        other_boxes: (B, 4), the crops of the other views, in the same frame.
        size: height and width of the result.

    Returns:
        (B, C, *size), in float32 or better; zeros, without gradient, where crops do not overlap:
        :func:`overlap_boxes` says where.
    """
    shared, exists = overlap_boxes(boxes, other_boxes)
    centers = cell_centers(shared, torch.zeros_like(flipped), size)  # (B, h*w, 2)
    places = image_to_view(centers, boxes, flipped, (2, 2)) - 1  # the view spans [-1, 1]
    places = places.masked_fill(~exists[:, None, None], 0).unflatten(1, size)
    maps = maps if maps.dtype == torch.float64 else maps.float()
    with torch.autocast(maps.device.type, enabled=False):
        read = F.grid_sample(
            maps, places.to(maps.dtype), 'bilinear', padding_mode='border', align_corners=False
        )
    return read.masked_fill(~exists[:, None, None, None], 0)
