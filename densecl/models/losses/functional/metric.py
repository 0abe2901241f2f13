"""Distances without a softmax: the triplet loss."""

import torch
from torch import Tensor

from .precision import no_autocast, unit


@no_autocast
def triplet_terms(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float, squared: bool = False
) -> Tensor:
    """The (N,) terms of :func:`triplet_margin`."""
    anchor, positive, negative = unit(anchor), unit(positive), unit(negative)
    if squared:
        near, far = (anchor - positive).square().sum(-1), (anchor - negative).square().sum(-1)
    else:
        near = torch.linalg.vector_norm(anchor - positive, dim=-1)
        far = torch.linalg.vector_norm(anchor - negative, dim=-1)
    return (near - far + margin).relu()


@no_autocast
def triplet_margin(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float, squared: bool = False
) -> Tensor:
    """Triplet loss ``max(0, d(a, p) - d(a, n) + margin)`` on unit vectors, mean over the triplets.

    Args:
        anchor: (N, C).
        positive: (N, C).
        negative: (N, C).
        margin: least difference wanted between the two distances.
        squared: squared Euclidean distances (FaceNet, Schroff et al., 2015, margin 0.2) instead of
            Euclidean ones; the values differ.

    Returns:
        Scalar. The gradient of a distance of zero is taken as zero.
    """
    return triplet_terms(anchor, positive, negative, margin, squared).mean()
