"""The coordinate convention of densecl, and its one implementation.

Coordinates are continuous: an image of W x H pixels spans [0, W] x [0, H] and the centre of its first
pixel is (0.5, 0.5). A view is the crop ``box`` (x1, y1, x2, y2 in pixels of the original image), resized
to ``size`` (height, width) and, where ``flipped``, mirrored left to right after the resize.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def constants(values: Sequence[float], like: Tensor) -> Tensor:
    """(N,) in the type and on the device of ``like``, filled there: an upload would make the host wait."""
    return torch.cat([like.new_full((1,), value) for value in values])


def _corner_and_scale(boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Top-left corner and original pixels per view pixel, both (B, 1, 2) in x, y order."""
    corner, far = boxes[:, None, :2], boxes[:, None, 2:]
    return corner, (far - corner) / constants((size[1], size[0]), boxes)


def _mirror(points: Tensor, flipped: Tensor, width: float) -> Tensor:
    x, y = points.unbind(-1)
    return torch.stack([torch.where(flipped[:, None], width - x, x), y], -1)


def view_to_image(points: Tensor, boxes: Tensor, flipped: Tensor, size: tuple[int, int]) -> Tensor:
    """Map points of views into their original images.

    Args:
        points: (B, N, 2), x and y in view pixels.
        boxes: (B, 4), the crops, x1, y1, x2, y2 in pixels of the original image.
        flipped: (B,) bool, whether the view was mirrored.
        size: height and width of the view in pixels.

    Returns:
        (B, N, 2), x and y in pixels of the original image.
    """
    corner, scale = _corner_and_scale(boxes, size)
    return corner + _mirror(points, flipped, size[1]) * scale


def image_to_view(points: Tensor, boxes: Tensor, flipped: Tensor, size: tuple[int, int]) -> Tensor:
    """Map points of original images into views; the inverse of :func:`view_to_image`.

    Points outside the crop land outside [0, width] x [0, height].
    """
    corner, scale = _corner_and_scale(boxes, size)
    return _mirror((points - corner) / scale, flipped, size[1])


def cell_centers(boxes: Tensor, flipped: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, H*W, 2), centres of the cells of feature maps in the frame of ``boxes``, in row-major order.

    Args:
        boxes: (B, 4), the crops that the maps see; ``flipped`` (B,) bool as above.
        grid: height and width of the map in cells.
    """
    sides = (torch.arange(n, dtype=boxes.dtype, device=boxes.device) + 0.5 for n in grid)
    y, x = torch.meshgrid(*sides, indexing='ij')
    points = torch.stack([x, y], -1).flatten(0, 1).expand(len(boxes), -1, -1)
    return view_to_image(points, boxes, flipped, grid)


def boxes_to_view(
    boxes: Tensor, crop_box: Tensor, flipped: Tensor | bool, view_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Place boxes of an image in a view, cut to what the view shows.

    One image, or a batch of them with B in front of every shape.

    Args:
        boxes: (P, 4), x1, y1, x2, y2 in pixels of the image.
        crop_box: (4,), the view's crop in the same pixels; it has an area.
        flipped: () bool, whether the view was mirrored left to right.
        view_size: height and width of the view in pixels.

    Returns:
        (P, 4), x1, y1, x2, y2 in pixels of the view, inside [0, width] x [0, height], in the type of
        ``boxes``; and (P,) bool: whether box and crop share an area. Of a box without one, the part that
        is left is a point or a line on the view's border.
    """
    crop_box = torch.as_tensor(crop_box, dtype=boxes.dtype, device=boxes.device)
    flipped = torch.as_tensor(flipped, device=boxes.device)
    if boxes.ndim == 2:
        placed, keep = boxes_to_view(boxes[None], crop_box[None], flipped[None], view_size)
        return placed[0], keep[0]
    near, far = crop_box[:, None, None, :2], crop_box[:, None, None, 2:]
    corners = boxes.unflatten(-1, (2, 2))  # (B, P, 2, 2)
    # Cut in the image, where the comparison with the crop is exact.
    corners = torch.minimum(torch.maximum(corners, near), far)
    keep = (corners[:, :, 1] > corners[:, :, 0]).all(-1)
    points = image_to_view(corners.flatten(1, 2), crop_box, flipped, view_size)
    points = points.unflatten(1, (-1, 2))
    placed = torch.cat([points.amin(2), points.amax(2)], -1)  # a mirrored view swaps x
    limits = constants([view_size[1], view_size[0]] * 2, placed)
    return torch.minimum(placed.clamp(min=0), limits), keep
