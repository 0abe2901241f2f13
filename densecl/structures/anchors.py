"""Box offsets relative to anchors, and the assignment of anchors to boxes (Faster R-CNN, Ren et al., 2015).

Boxes are x1, y1, x2, y2 in pixels of a view. Shapes are fixed: a bool mask says which boxes exist.
"""

import math

import torch
from torch import Tensor

#: Log ratios of sides are clamped to this: a box is at most 62.5 times as wide as its anchor (mmdet).
_MAX_LOG_RATIO = math.log(1000 / 16)


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union, (..., A, 4) and (..., K, 4) -> (..., A, K); 0 if neither box has an area."""
    boxes, others = boxes[..., :, None, :], others[..., None, :, :]
    near, far = torch.maximum(boxes[..., :2], others[..., :2]), torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = (far - near).clamp(min=0).prod(-1)
    areas = ((x[..., 2:] - x[..., :2]).clamp(min=0).prod(-1) for x in (boxes, others))
    return shared / (sum(areas) - shared).clamp(min=1e-6)


def encode_boxes(anchors: Tensor, boxes: Tensor, stds: tuple[float, ...]) -> Tensor:
    """Offsets from ``anchors`` to ``boxes``, (..., 4) each -> (..., 4). Every box needs an area.

    The first two are the shift of the centre, dx and dy, divided by the anchor's width and height. The other
    two are the logarithms of the ratios of widths and of heights. Each is divided by its entry of ``stds``.
    """
    (x, y, w, h), (cx, cy, width, height) = _centred(anchors), _centred(boxes)
    offsets = (cx - x) / w, (cy - y) / h, (width / w).log(), (height / h).log()
    return torch.stack([offset / std for offset, std in zip(offsets, stds, strict=True)], -1)


def decode_boxes(anchors: Tensor, offsets: Tensor, stds: tuple[float, ...], size: tuple[int, int]) -> Tensor:
    """The inverse of :func:`encode_boxes`; the boxes are clipped to a view of height and width ``size``."""
    x, y, w, h = _centred(anchors)
    dx, dy, dw, dh = (offset * std for offset, std in zip(offsets.unbind(-1), stds, strict=True))
    x, y = x + dx * w, y + dy * h
    w, h = (side * d.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp() / 2 for side, d in ((w, dw), (h, dh)))
    corners = (x - w).clamp(0, size[1]), (y - h).clamp(0, size[0])
    return torch.stack([*corners, (x + w).clamp(0, size[1]), (y + h).clamp(0, size[0])], -1)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def assign_anchors(
    anchors: Tensor, boxes: Tensor, there: Tensor, above: float = 0.7, below: float = 0.3
) -> tuple[Tensor, Tensor, Tensor]:
    """Assign each anchor to a box (Ren et al., 2015, section 3.1.2; mmdet's ``MaxIoUAssigner``).

    An anchor is positive for the box with which it has the highest IoU, if this IoU is ``above`` or more.
    Besides, each box makes the anchors with the highest IoU to it positive, if this IoU is ``below`` or more.
    An anchor is background if it is not positive and its IoU with every box is less than ``below``.

    Args:
        anchors: (A, 4).
        boxes: (K, 4).
        there: (K,) bool, the boxes that count.
        above: IoU from which an anchor is positive.
        below: IoU under which an anchor is background.

    Returns:
        int64 (A,), the assigned box; bool (A,), whether the anchor is positive for it; bool (A,), whether the
        anchor is background.
    """
    iou = overlaps(anchors, boxes).masked_fill(~there, -1.0)  # (A, K)
    most, index = iou.max(1)
    best = iou.amax(0)
    nearest = (iou == best) & (best >= below)
    # An anchor that is the best one of several boxes is assigned to the last of them, as in mmdet.
    count = torch.arange(1, len(boxes) + 1, device=boxes.device)
    last, is_nearest = (nearest * count).argmax(1), nearest.any(1)
    found = is_nearest | (most >= above)
    return torch.where(is_nearest, last, index), found, (most < below) & ~found
