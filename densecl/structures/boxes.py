"""Where boxes of an image lie in a view of it."""

import torch
from torch import Tensor

from .geometry import image_to_view


def boxes_to_view(
    boxes: Tensor,
    crop_box: Tensor,
    flipped: Tensor | bool,
    view_size: tuple[int, int],
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
    limits = placed.new_tensor([view_size[1], view_size[0]] * 2)
    return torch.minimum(placed.clamp(min=0), limits), keep
