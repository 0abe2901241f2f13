"""How well label maps are predicted: counts of pixels, and the intersection over union from them."""

from dataclasses import dataclass

import torch
from torch import Tensor

#: Pixels with this label are neither learnt nor counted.
IGNORED = 255


@dataclass(frozen=True)
class MeanIoU:
    """Intersection over union in per cent.

    Attributes:
        mean: over the classes that the truth has; NaN if it has none.
        per_class: one a class, NaN where the truth does not have it.
        absent: the ids of those classes; they do not count.
    """

    mean: float
    per_class: tuple[float, ...]
    absent: tuple[int, ...]


def confusion(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Pixels by true class (row) and predicted class (column), for each image.

    Args:
        predicted: (N, H, W) int64, 0 to ``classes`` - 1.
        truth: (N, H, W), the same or 255, which is left out.
        classes: K.

    Returns:
        (N, K, K) int64.
    """
    image = torch.arange(len(truth), device=truth.device).view(-1, 1, 1).expand_as(truth)
    counted = truth != IGNORED
    index = (image * classes + truth.long()) * classes + predicted
    counts = torch.bincount(index[counted], minlength=len(truth) * classes**2)
    return counts.view(-1, classes, classes)


def iou_counts(counts: Tensor) -> Tensor:
    """Hits, true and predicted pixels by class, (..., K, K) -> (..., 3, K): all that the IoU needs."""
    return torch.stack([counts.diagonal(dim1=-2, dim2=-1), counts.sum(-1), counts.sum(-2)], -2)


def class_iou(counts: Tensor) -> Tensor:
    """(..., 3, K) of :func:`iou_counts` -> (..., K) in per cent, NaN where the truth has no such pixel."""
    hit, true, predicted = counts.double().unbind(-2)
    return torch.where(true > 0, 100 * hit / (true + predicted - hit), torch.nan)


def mean_iou(counts: Tensor) -> MeanIoU:
    """Intersection over union from (K, K) counts of :func:`confusion`, summed over the images.

    A class that the truth does not have is left out of the mean; what is wrongly taken for it still
    counts against the true classes.
    """
    iou = class_iou(iou_counts(counts))
    absent = torch.nonzero(iou.isnan()).flatten().tolist()
    return MeanIoU(iou.nanmean().item(), tuple(iou.tolist()), tuple(absent))


def enlarged_argmax(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, K, h, w) scores, bilinear to ``size``, -> (B, H, W) int64 classes."""
    return torch.nn.functional.interpolate(scores, size, mode='bilinear', align_corners=False).argmax(1)
