"""Boxes as offsets from other boxes, and which box an anchor stands for (Faster R-CNN, Ren et al., 2015).

Boxes are x1, y1, x2, y2 in pixels of a view. Shapes are fixed; boxes that are not there are named by a mask.
"""

import math

import torch
from torch import Tensor

#: Log ratios of sides are clamped to this: a box is at most 62.5 times as wide as its anchor (mmdet).
_MAX_LOG_RATIO = math.log(1000 / 16)


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union, (..., A, 4) and (..., K, 4) -> (..., A, K); 0 where neither has an area."""
    boxes, others = boxes[..., :, None, :], others[..., None, :, :]
    near, far = torch.maximum(boxes[..., :2], others[..., :2]), torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = (far - near).clamp(min=0).prod(-1)
    areas = ((x[..., 2:] - x[..., :2]).clamp(min=0).prod(-1) for x in (boxes, others))
    return shared / (sum(areas) - shared).clamp(min=1e-6)


def encode_boxes(anchors: Tensor, boxes: Tensor, stds: tuple[float, ...]) -> Tensor:
    """Offsets from ``anchors`` to ``boxes``, (..., 4) each -> (..., 4); no box may be empty.

    They are dx, dy in sides of the anchor and log ratios of width and height, each divided by its ``stds``.
    """
    (x, y, w, h), (cx, cy, width, height) = _centred(anchors), _centred(boxes)
    offsets = (cx - x) / w, (cy - y) / h, (width / w).log(), (height / h).log()
    return torch.stack([offset / std for offset, std in zip(offsets, stds, strict=True)], -1)


def decode_boxes(anchors: Tensor, offsets: Tensor, stds: tuple[float, ...], size: tuple[int, int]) -> Tensor:
    """The inverse of :func:`encode_boxes`, cut to a view of height and width ``size``."""
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
    """Which box an anchor is to find (Ren et al., 2015, section 3.1.2; mmdet's ``MaxIoUAssigner``).

    An anchor finds the box that it overlaps most, if by ``above`` at least; and each box is found by the
    anchors that overlap it most, if by ``below``. Those that overlap none by ``below`` are background.

    Args:
        anchors: (A, 4).
        boxes: (K, 4).
        there: (K,) bool, the boxes that count.

    Returns:
        int64 (A,), the box; bool (A,), whether the anchor finds it; bool (A,), whether it is background.
    """
    iou = overlaps(anchors, boxes).masked_fill(~there, -1.0)  # (A, K)
    most, index = iou.max(1)
    best = iou.amax(0)
    nearest = (iou == best) & (best >= below)
    # An anchor that is the nearest of several boxes finds the last of them, as in mmdet.
    count = torch.arange(1, len(boxes) + 1, device=boxes.device)
    last, is_nearest = (nearest * count).argmax(1), nearest.any(1)
    found = is_nearest | (most >= above)
    return torch.where(is_nearest, last, index), found, (most < below) & ~found
