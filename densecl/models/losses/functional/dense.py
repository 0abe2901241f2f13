"""Cells of feature maps that are alike."""

import torch
from torch import Tensor

from .precision import no_autocast, unit


@no_autocast
def pixel_consistency(online: Tensor, target: Tensor, positives: Tensor) -> Tensor:
    """Minus the mean cosine of an image's positive pairs, mean over images (PixPro, Xie et al., 2021, eq. 5).

    Images without a positive pair count 0, as in the official code, which divides by the number of pairs
    plus 1e-6 where this divides by the number, and returns twice this value.

    Args:
        online: (B, C, N), normalised here.
        target: (B, C, M), likewise.
        positives: bool (B, N, M).

    Returns:
        Scalar in [-1, 1].
    """
    cosine = unit(online, 1).transpose(1, 2) @ unit(target, 1)  # (B, N, M)
    total = torch.where(positives, cosine, 0.0).sum((1, 2))
    return -(total / positives.sum((1, 2)).clamp(min=1)).mean()
