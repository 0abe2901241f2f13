"""Overlaps of boxes; non-maximum suppression: hard (torchvision), soft (Bodla et al., 2017), with groups."""

import torch
from torch import Tensor
from torchvision.ops import nms as torchvision_nms

from ._precision import widen

_NAIVE, _LINEAR, _GAUSSIAN = 0, 1, 2


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
    overlap, area, union = _intersection(first, second, offset)
    whole = union if mode == 0 else area
    ious.copy_(overlap / whole.clamp(min=max(offset, 0) or torch.finfo(whole.dtype).tiny))


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the kept boxes, best score first.

    Args:
        boxes: (N, 4) corners x1, y1, x2, y2 in pixels.
        scores: (N,).
        iou_threshold: A box is dropped when it overlaps a better one by more than this.
        offset: 1 where a box is ``x2 - x1 + 1`` wide, else 0.

    Returns:
        (K,) int64 indices.
    """
    boxes = widen(boxes)
    if offset:
        # Width x2 - x1 + 1 is that of a box whose far corner lies one pixel further.
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision_nms(boxes, widen(scores).to(boxes.dtype), iou_threshold)


def softnms(
    boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float, sigma: float, min_score: float,
    method: int, offset: int,
) -> Tensor:  # fmt: skip
    """Decay the scores of overlapping boxes instead of dropping them.

    Source: Bodla et al., "Soft-NMS -- Improving Object Detection With One Line of Code", ICCV 2017, sec. 3.

    Args:
        boxes: (N, 4) corners on CPU.
        scores: (N,) on CPU.
        dets: (N, 5) output, filled in its first K rows with box and decayed score.
        iou_threshold: From which overlap the naive and the linear form act.
        sigma: Width of the Gaussian form.
        min_score: A box whose score falls below this is dropped.
        method: 0 naive, 1 linear, 2 Gaussian.
        offset: 1 where a box is ``x2 - x1 + 1`` wide, else 0.

    Returns:
        (K,) int64 indices, in the order of selection.
    """
    boxes, scores = widen(boxes), widen(scores).clone()
    left = torch.arange(len(boxes))
    kept = []
    while len(left):
        best = int(scores[left].argmax())
        index = left[best]
        dets[len(kept), :4] = boxes[index]
        dets[len(kept), 4] = scores[index]
        kept.append(int(index))
        left = torch.cat([left[:best], left[best + 1 :]])
        overlap, _, union = _intersection(boxes[index], boxes[left], offset)
        scores[left] *= _decay(overlap / union, iou_threshold, sigma, method)
        left = left[scores[left] >= min_score]
    return torch.tensor(kept, dtype=torch.long)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group boxes with the better one that suppresses them.

    Args:
        dets: (N, 5) corners and score.
        iou_threshold: A box joins a group when it overlaps its first box by at least this.

    Returns:
        Groups of indices, each led by the kept box, best score first.
    """
    dets = widen(dets)
    left = dets[:, 4].argsort(descending=True, stable=True)
    groups = []
    while len(left):
        first, left = left[0], left[1:]
        overlap, _, union = _intersection(dets[first, :4], dets[left, :4], 0)
        joins = overlap / union >= iou_threshold
        groups.append([int(first), *left[joins].tolist()])
        left = left[~joins]
    return groups


def _intersection(first: Tensor, second: Tensor, offset: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the areas of intersection, first box and union of (..., 4) boxes."""
    near = torch.maximum(first[..., :2], second[..., :2])
    far = torch.minimum(first[..., 2:], second[..., 2:])
    overlap = (far - near + offset).clamp(min=0).prod(dim=-1)
    area, other = ((box[..., 2:] - box[..., :2] + offset).prod(dim=-1) for box in (first, second))
    return overlap, area, area + other - overlap


def _decay(overlap: Tensor, iou_threshold: float, sigma: float, method: int) -> Tensor:
    """Return the factor by which each score falls."""
    if method == _GAUSSIAN:
        return torch.exp(-overlap.square() / sigma)
    if method not in (_NAIVE, _LINEAR):
        raise ValueError(f'softnms: method is 0 (naive), 1 (linear) or 2 (gaussian), not {method}')
    factor = 1 - overlap if method == _LINEAR else torch.zeros_like(overlap)
    return torch.where(overlap >= iou_threshold, factor, torch.ones_like(overlap))
