"""Three ways to pool a region of a feature map to one vector. Their results differ."""

import torch
from torch import Tensor
from torchvision.ops import roi_align

from densecl.numerics import full_precision, no_autocast

from .base import cells


@no_autocast
def pool_boxes(
    level: Tensor, boxes: Tensor, size: tuple[int, int], bins: int, aligned: bool = True
) -> Tensor:
    """RoIAlign, with as many samples in a bin as it has cells; an empty box gives zeros, at no cost.

    Args:
        level: (B, C, H, W).
        boxes: (B, N, 4), x1, y1, x2, y2 in pixels of the view.
        size: height and width of the view in pixels.
        bins: side of the result in bins.
        aligned: True puts the centres of cells at half cells, which is correct. False reads half a cell too
            far to the lower right.

    Returns:
        (B*N, C, bins, bins), in float32 or better.
    """
    level = full_precision(level)
    (height, width), (batch, count) = level.shape[2:], boxes.shape[:2]
    boxes = boxes.to(level.dtype)
    x, y = boxes[..., 0::2] * (width / size[1]), boxes[..., 1::2] * (height / size[0])
    corners = torch.stack([x, y], -1).flatten(0, 1).flatten(1)  # (B*N, 4)
    image = torch.arange(batch, dtype=level.dtype, device=level.device).repeat_interleave(count)
    return roi_align(level, torch.cat([image[:, None], corners], 1), bins, aligned=aligned)


@no_autocast
def pool_boxes_exactly(level: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The mean of a bilinearly interpolated map over boxes, as an exact integral.

    This is PrRoIPool (Jiang et al., 2018) with one bin and cell centres at half cells; in the official
    operator they are at whole cells. It is also the limit of RoIAlign for many samples. The integral over a
    box is a weighted sum of cells, so it is computed as a matrix product.

    Arguments are those of :func:`pool_boxes`. Boxes must have an area and lie inside the view. Returns
    (B, N, C), in float32 or better.
    """
    level = full_precision(level)
    height, width = level.shape[2:]
    x1, y1, x2, y2 = boxes.double().unbind(-1)
    rows = interval_weights(y1 * (height / size[0]), y2 * (height / size[0]), height)
    columns = interval_weights(x1 * (width / size[1]), x2 * (width / size[1]), width)
    weights = (rows[..., :, None] * columns[..., None, :]).flatten(2).to(level.dtype)
    return weights @ cells(level)


def interval_weights(near: Tensor, far: Tensor, count: int) -> Tensor:
    """Weights of ``count`` cells for the mean of their linear interpolation over an interval.

    The values of the cells lie at their centres, 0.5, 1.5, ...; beyond the first and the last centre the
    interpolation is constant.

    Args:
        near, far: (...,), begin and end of each interval, in cells, in [0, count].
        count: number of cells.

    Returns:
        (..., count), with sum 1.
    """
    centers = torch.arange(-1, count + 1, dtype=near.dtype, device=near.device) + 0.5

    def area(edge: Tensor) -> Tensor:
        """The area of each centre's triangle (its interpolation kernel) to the left of ``edge``."""
        u = (edge[..., None] - centers).clamp(-1, 1)
        return 0.5 + u - u * u.abs() / 2

    weights = (area(far) - area(near)) / (far - near)[..., None]
    inner = weights[..., 1:-1].clone()
    inner[..., 0] += weights[..., 0]
    inner[..., -1] += weights[..., -1]
    return inner


@no_autocast
def pool_masks(level: Tensor, masks: Tensor) -> Tensor:
    """The weighted mean of a map (B, C, h, w) over masks (B, N, h, w) -> (B, N, C), in float32 or better.

    Masks are the share of each cell that belongs to them, in [0, 1]. An empty mask has the mean 0.
    """
    maps = full_precision(level).flatten(2)  # (B, C, h*w)
    shares = masks.to(maps.dtype).flatten(2)  # (B, N, h*w)
    sums = shares @ maps.transpose(1, 2)
    # The clamp is only for empty masks; the sum of another may be less than 1 if its shares are.
    return sums / shares.sum(2, keepdim=True).clamp(min=1e-6)
