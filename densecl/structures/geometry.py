"""The coordinate convention of densecl, and its one implementation.

Coordinates are continuous: an image of W x H pixels spans [0, W] x [0, H] and the centre of its first
pixel is (0.5, 0.5). A view is the crop ``box`` (x1, y1, x2, y2 in pixels of the original image). The crop is
resized to ``size`` (height, width). Where ``flipped``, it is then mirrored left to right.

A warped view (rotated, upside down, seen from the side) also has ``warp``, a homography, (B, 3, 3) in a
batch. It maps a point of the view before mirroring, in shares of the view's width and height, to a point of
the image, in shares of ``box``. Both points are homogeneous: (x, y, 1) up to a factor. The ``box`` of a
warped view is the smallest upright box around what the view shows. It may reach outside of the photo.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def constants(values: Sequence[float], like: Tensor) -> Tensor:
    """(N,), dtype and device as ``like``. It is filled on the device: an upload would make the host wait."""
    return torch.cat([like.new_full((1,), value) for value in values])


def _corner_and_scale(boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Top-left corner and original pixels per view pixel, both (B, 1, 2) in x, y order."""
    corner, far = boxes[:, None, :2], boxes[:, None, 2:]
    return corner, (far - corner) / constants((size[1], size[0]), boxes)


def _mirror(points: Tensor, flipped: Tensor, width: float) -> Tensor:
    x, y = points.unbind(-1)
    return torch.stack([torch.where(flipped[:, None], width - x, x), y], -1)


def _warped(points: Tensor, warp: Tensor, size: tuple[int, int]) -> Tensor:
    """Apply the homographies ``warp`` (B, 3, 3) to points (B, N, 2) in pixels; same dtype as the points.

    The homographies are in shares of the height and width ``size``.
    """
    sides = constants((size[1], size[0]), points)
    shares = torch.cat([points / sides, torch.ones_like(points[..., :1])], -1)
    mapped = (warp.to(points.dtype)[:, None] * shares[:, :, None]).sum(-1)  # (B, N, 3)
    # A point at or behind the horizon has a divisor of 0 or less: the clamp puts it very far away.
    return mapped[..., :2] / mapped[..., 2:].clamp(min=1e-6) * sides


def inverse_warp(warp: Tensor) -> Tensor:
    """The inverses of (B, 3, 3), by cofactors: torch's own check for an inverse would wait for the device."""
    first, second, third = warp.unbind(1)
    cofactors = [torch.linalg.cross(*rows) for rows in ((second, third), (third, first), (first, second))]
    return torch.stack(cofactors, 2) / (first * cofactors[0]).sum(1)[:, None, None]


def view_to_image(
    points: Tensor, boxes: Tensor, flipped: Tensor, size: tuple[int, int], warp: Tensor | None = None
) -> Tensor:
    """Map points from views to their original images.

    Args:
        points: (B, N, 2), x and y in view pixels.
        boxes: (B, 4), the crops, x1, y1, x2, y2 in pixels of the original image.
        flipped: (B,) bool, whether the view was mirrored.
        size: height and width of the view in pixels.
        warp: (B, 3, 3) homographies, or None for views that are not warped.

    Returns:
        (B, N, 2), x and y in pixels of the original image.
    """
    corner, scale = _corner_and_scale(boxes, size)
    points = _mirror(points, flipped, size[1])
    if warp is not None:
        points = _warped(points, warp, size)
    return corner + points * scale


def image_to_view(
    points: Tensor, boxes: Tensor, flipped: Tensor, size: tuple[int, int], warp: Tensor | None = None
) -> Tensor:
    """Map points from original images to views; the inverse of :func:`view_to_image`.

    Points outside of the crop get coordinates outside of [0, width] x [0, height].
    """
    corner, scale = _corner_and_scale(boxes, size)
    points = (points - corner) / scale
    if warp is not None:
        points = _warped(points, inverse_warp(warp.to(points.dtype)), size)
    return _mirror(points, flipped, size[1])


def cell_centers(boxes: Tensor, flipped: Tensor, grid: tuple[int, int], warp: Tensor | None = None) -> Tensor:
    """Centres of the cells of feature maps, (B, H*W, 2), in the coordinates of ``boxes``, in row-major order.

    Args:
        boxes: (B, 4), the crop that each map was computed from.
        flipped: (B,) bool, whether the view was mirrored.
        grid: height and width of the map in cells.
        warp: (B, 3, 3) homographies, or None.
    """
    sides = (torch.arange(n, dtype=boxes.dtype, device=boxes.device) + 0.5 for n in grid)
    y, x = torch.meshgrid(*sides, indexing='ij')
    points = torch.stack([x, y], -1).flatten(0, 1).expand(len(boxes), -1, -1)
    return view_to_image(points, boxes, flipped, grid, warp)


def cell_diagonals(
    boxes: Tensor, flipped: Tensor, grid: tuple[int, int], warp: Tensor | None = None
) -> Tensor:
    """Length of each cell's diagonal, (B, H*W), in the coordinates of ``boxes``; see :func:`cell_centers`.

    A warped cell has two diagonals of different length: the result is their root mean square.
    """
    if warp is None:
        sides = (boxes[:, 2:] - boxes[:, :2]) / constants(grid[::-1], boxes)
        return torch.hypot(*sides.unbind(1))[:, None].expand(-1, grid[0] * grid[1])
    y, x = torch.meshgrid(
        *(torch.arange(n + 1, dtype=boxes.dtype, device=boxes.device) for n in grid), indexing='ij'
    )
    points = torch.stack([x, y], -1).flatten(0, 1).expand(len(boxes), -1, -1)
    corners = view_to_image(points, boxes, flipped, grid, warp).unflatten(1, (grid[0] + 1, grid[1] + 1))
    down, up = corners[:, 1:, 1:] - corners[:, :-1, :-1], corners[:, 1:, :-1] - corners[:, :-1, 1:]
    return ((down.square() + up.square()).sum(-1) / 2).sqrt().flatten(1)


def boxes_to_view(
    boxes: Tensor,
    crop_box: Tensor,
    flipped: Tensor | bool,
    view_size: tuple[int, int],
    warp: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Map boxes of an image to a view, clipped to what the view shows.

    In a warped view the result is the smallest upright box around the warped box.

    The arguments are of one image, or of a batch, where every shape has a first dimension B.

    Args:
        boxes: (P, 4), x1, y1, x2, y2 in pixels of the image.
        crop_box: (4,), the view's crop in the same pixels; it must have an area.
        flipped: () bool, whether the view was mirrored left to right.
        view_size: height and width of the view in pixels.
        warp: (3, 3) homography, or None.

    Returns:
        (P, 4), x1, y1, x2, y2 in pixels of the view, inside [0, width] x [0, height], with the dtype of
        ``boxes``; and (P,) bool, whether box and crop overlap with a positive area. A box that does not
        becomes a point or a line on the view's border.
    """
    crop_box = torch.as_tensor(crop_box, dtype=boxes.dtype, device=boxes.device)
    flipped = torch.as_tensor(flipped, device=boxes.device)
    if boxes.ndim == 2:
        warp = None if warp is None else warp[None]
        placed, keep = boxes_to_view(boxes[None], crop_box[None], flipped[None], view_size, warp)
        return placed[0], keep[0]
    near, far = crop_box[:, None, None, :2], crop_box[:, None, None, 2:]
    corners = boxes.unflatten(-1, (2, 2))  # (B, P, 2, 2)
    # Clip in image coordinates: there the comparison with the crop has no rounding.
    corners = torch.minimum(torch.maximum(corners, near), far)
    keep = (corners[:, :, 1] > corners[:, :, 0]).all(-1)
    if warp is not None:
        corners = all_corners(corners.flatten(2))
    points = image_to_view(corners.flatten(1, 2), crop_box, flipped, view_size, warp)
    points = points.unflatten(1, (-1, corners.shape[2]))
    placed = torch.cat([points.amin(2), points.amax(2)], -1)  # mirroring swaps left and right: sort again
    limits = constants([view_size[1], view_size[0]] * 2, placed)
    placed = torch.minimum(placed.clamp(min=0), limits)
    if warp is not None:
        keep = keep & (placed[..., 2:] > placed[..., :2]).all(-1)
    return placed, keep


def all_corners(boxes: Tensor) -> Tensor:
    """The four corners of boxes, (..., 4) -> (..., 4, 2)."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([x1, y1, x2, y1, x2, y2, x1, y2], -1).unflatten(-1, (4, 2))
