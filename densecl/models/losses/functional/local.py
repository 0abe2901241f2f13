"""Matched cells (VICRegL) and regions (SCRL)."""

import torch
from torch import Tensor

from .precision import full_precision, no_autocast, unit
from .redundancy import variance_hinge


def off_diagonals(matrices: Tensor) -> Tensor:
    """The (P, D - 1, D) off-diagonal entries of (P, D, D) matrices."""
    size = matrices.shape[-1]
    return matrices.flatten(1)[:, 1:].unflatten(1, (size - 1, size + 1))[..., :-1]


@no_autocast
def position_covariance(features: Tensor) -> Tensor:
    """``sum_{i != j} Cov_ij^2 / D`` of each position over the batch, mean over positions (VICRegL).

    Args:
        features: (B, P, D), B >= 2.

    Returns:
        Scalar.
    """
    features = full_precision(features)
    centred = features - features.mean(0)
    covariance = torch.einsum('bpi,bpj->pij', centred, centred) / (len(features) - 1)
    return off_diagonals(covariance).square().sum((1, 2)).mean() / features.shape[2]


@no_autocast
def position_vicreg(
    first: Tensor, second: Tensor, invariance: float, variance: float, covariance: float
) -> Tensor:
    """VICReg of P matched pairs of cells an image (VICRegL, Bardes et al., 2022).

    Variances and covariances are those of one position over the batch, never of cells of one image. Scaled as
    the official code does it: squared distance a mean over everything, variance and covariance terms means of
    both sides and of all positions. (VICReg's official code *sums* the covariance terms of both sides.)

    Args:
        first: (B, P, D), B >= 2.
        second: (B, P, D), the matches.
        invariance: weight of the squared distance; 25.
        variance: weight of the variance hinge; 25.
        covariance: weight of the covariance penalty; 1.

    Returns:
        Scalar.

    Raises:
        ValueError: for a batch of one, which has no variance.
    """
    if len(first) < 2:
        raise ValueError(f'position_vicreg needs a batch of at least 2 for its variances, got {len(first)}')
    distance = (full_precision(first) - full_precision(second)).square().mean()
    hinge = (variance_hinge(first) + variance_hinge(second)) / 2
    penalty = (position_covariance(first) + position_covariance(second)) / 2
    return invariance * distance + variance * hinge + covariance * penalty


@no_autocast
def region_distances(prediction: Tensor, key: Tensor) -> Tensor:
    """Squared distance of unit vectors, ``2 - 2 cos``, of each pair (SCRL, Roh et al., 2021).

    Args:
        prediction: (N, C), normalised here.
        key: (N, C), likewise.

    Returns:
        (N,), in [0, 4].
    """
    return 2 - 2 * (unit(prediction) * unit(key)).sum(-1)
