"""Quality of predicted label maps: counts of pixels, and the intersection over union from them."""

from dataclasses import dataclass

import torch
from torch import Tensor

#: Pixels with this label are ignored in training and in scoring.
IGNORED = 255


@dataclass(frozen=True)
class MeanIoU:
    """Intersection over union in per cent.

    Attributes:
        mean: mean over the classes that occur in the truth; NaN if none does.
        per_class: one value per class, NaN if it does not occur in the truth.
        absent: ids of the classes that do not occur in the truth; they do not count.
    """

    mean: float
    per_class: tuple[float, ...]
    absent: tuple[int, ...]


def confusion(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Number of pixels by true class (row) and predicted class (column), for each image.

    Args:
        predicted: (N, H, W) int64, 0 to ``classes`` - 1.
        truth: (N, H, W), the same; or 255, which is ignored.
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
    """Numbers of correct, true and predicted pixels per class for the IoU, (..., K, K) -> (..., 3, K)."""
    return torch.stack([counts.diagonal(dim1=-2, dim2=-1), counts.sum(-1), counts.sum(-2)], -2)


def class_iou(counts: Tensor) -> Tensor:
    """(..., 3, K) of :func:`iou_counts` -> (..., K) in per cent, NaN for classes not in the truth."""
    hit, true, predicted = counts.double().unbind(-2)
    return torch.where(true > 0, 100 * hit / (true + predicted - hit), torch.nan)


def mean_iou(counts: Tensor) -> MeanIoU:
    """Intersection over union from (K, K) counts of :func:`confusion`, summed over the images.

    A class that does not occur in the truth is left out of the mean. Pixels wrongly predicted as this class
    still reduce the IoU of their true classes.
    """
    iou = class_iou(iou_counts(counts))
    absent = torch.nonzero(iou.isnan()).flatten().tolist()
    return MeanIoU(iou.nanmean().item(), tuple(iou.tolist()), tuple(absent))


def enlarged_argmax(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, K, h, w) scores, bilinear to ``size``, -> (B, H, W) int64 classes."""
    return torch.nn.functional.interpolate(scores, size, mode='bilinear', align_corners=False).argmax(1)
