"""The coordinate convention of densecl, and its one implementation.

Coordinates are continuous: an image of W x H pixels spans [0, W] x [0, H] and the centre of its first
pixel is (0.5, 0.5). A view is the crop ``box`` (x1, y1, x2, y2 in pixels of the original image), resized
to ``size`` (height, width) and, where ``flipped``, mirrored left to right after the resize.
"""

import torch
from torch import Tensor


def _corner_and_scale(boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Top-left corner and original pixels per view pixel, both (B, 1, 2) in x, y order."""
    corner, far = boxes[:, None, :2], boxes[:, None, 2:]
    view = boxes.new_tensor([size[1], size[0]])
    return corner, (far - corner) / view


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
    """Centres of the cells of a feature map, in the original image.

    Args:
        boxes: (B, 4), the crops that the maps see.
        flipped: (B,) bool.
        grid: height and width of the map in cells.

    Returns:
        (B, H*W, 2) in the frame of ``boxes``, cells in row-major order.
    """
    rows = torch.arange(grid[0], dtype=boxes.dtype, device=boxes.device) + 0.5
    cols = torch.arange(grid[1], dtype=boxes.dtype, device=boxes.device) + 0.5
    y, x = torch.meshgrid(rows, cols, indexing='ij')
    points = torch.stack([x, y], -1).flatten(0, 1).expand(len(boxes), -1, -1)
    return view_to_image(points, boxes, flipped, grid)
