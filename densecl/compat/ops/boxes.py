"""Overlap of axis-aligned boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from ._precision import widen


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Fill ``ious`` with the overlaps of two sets of boxes.

    Args:
        bboxes1: (N, 4) corners x1, y1, x2, y2 in pixels.
        bboxes2: (M, 4) corners; M equals N where ``aligned``.
        ious: Output, (N,) where ``aligned``, else (N, M).
        mode: 0 for intersection over union, 1 for intersection over the first box.
        aligned: Compare box i with box i instead of each with each.
        offset: 1 where a box is ``x2 - x1 + 1`` wide, else 0.
    """
    first, second = widen(bboxes1), widen(bboxes2)
    if not aligned:
        first, second = first[:, None], second[None]
    near = torch.maximum(first[..., :2], second[..., :2])
    far = torch.minimum(first[..., 2:], second[..., 2:])
    overlap = (far - near + offset).clamp(min=0).prod(dim=-1)
    whole = (first[..., 2:] - first[..., :2] + offset).prod(dim=-1)
    if mode == 0:
        whole = whole + (second[..., 2:] - second[..., :2] + offset).prod(dim=-1) - overlap
    ious.copy_(overlap / whole.clamp(min=max(offset, 0) or torch.finfo(whole.dtype).tiny))
