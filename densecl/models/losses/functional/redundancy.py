"""Statistics instead of negatives: Barlow Twins and VICReg. Nothing is L2-normalised here."""

import torch
from torch import Tensor

from .precision import full_precision, no_autocast


def off_diagonal(matrix: Tensor) -> Tensor:
    """The (D - 1, D) off-diagonal entries of a (D, D) matrix."""
    size = len(matrix)
    # Without its first entry, every run of D + 1 ends with the next one of the diagonal.
    return matrix.flatten()[1:].view(size - 1, size + 1)[:, :-1]


@no_autocast
def cross_correlation(view1: Tensor, view2: Tensor, eps: float = 1e-5) -> Tensor:
    """Correlations of the channels of two views over the batch (Barlow Twins, Zbontar et al., 2021, eq. 2).

    Each channel is standardised as batch norm does it: biased variance plus ``eps``, so that a perfect
    correlation stays a little below 1.

    Args:
        view1: (B, D).
        view2: (B, D).
        eps: added to the variances.

    Returns:
        (D, D), entry ij of channel i of view 1 with channel j of view 2.
    """

    def standardise(x: Tensor) -> Tensor:
        x = full_precision(x)
        variance, mean = torch.var_mean(x, dim=0, correction=0)
        return (x - mean) * (variance + eps).rsqrt()

    return standardise(view1).T @ standardise(view2) / len(view1)


@no_autocast
def barlow_twins(view1: Tensor, view2: Tensor, redundancy_weight: float) -> Tensor:
    """Barlow Twins (Zbontar et al., 2021, eq. 1): ``sum_i (1 - C_ii)^2 + weight sum_{i != j} C_ij^2``.

    Args:
        view1: (B, D), the projector's output.
        view2: (B, D).
        redundancy_weight: lambda; 0.0051.

    Returns:
        Scalar, a sum over the entries of C.
    """
    correlation = cross_correlation(view1, view2)
    invariance = (1 - correlation.diagonal()).square().sum()
    return invariance + redundancy_weight * off_diagonal(correlation).square().sum()


@no_autocast
def variance_hinge(features: Tensor) -> Tensor:
    """``mean_d relu(1 - sqrt(var_d + 1e-4))`` with the unbiased variance (VICReg, eq. 1 and 2).

    Args:
        features: (B, D), B >= 2.

    Returns:
        Scalar in [0, 1].
    """
    return (1 - (full_precision(features).var(dim=0) + 1e-4).sqrt()).relu().mean()


@no_autocast
def covariance_penalty(features: Tensor) -> Tensor:
    """``sum_{i != j} Cov_ij^2 / D`` with B - 1 in the covariance (VICReg, eq. 3 and 4).

    Args:
        features: (B, D), B >= 2.

    Returns:
        Scalar.
    """
    features = full_precision(features)
    centred = features - features.mean(0)
    covariance = centred.T @ centred / (len(features) - 1)
    return off_diagonal(covariance).square().sum() / features.shape[1]


@no_autocast
def vicreg(
    view1: Tensor, view2: Tensor, invariance: float, variance: float, covariance: float
) -> Tensor:
    """Variance-invariance-covariance regularisation (VICReg, Bardes et al., 2022, eq. 6).

    Scaled as the official code does it: the squared distance is a mean over batch and channels (the paper:
    over the batch only), the variance term the mean of the two views' (the paper: their sum), the
    covariance term the sum of the two.

    Args:
        view1: (B, D), the expander's output, B >= 2.
        view2: (B, D).
        invariance: weight of the squared distance; 25.
        variance: weight of the variance hinge; 25.
        covariance: weight of the covariance penalty; 1.

    Returns:
        Scalar.

    Raises:
        ValueError: for a batch of one, which has no variance.
    """
    if len(view1) < 2:
        raise ValueError(f'vicreg needs a batch of at least 2 for its variances, got {len(view1)}')
    distance = (full_precision(view1) - full_precision(view2)).square().mean()
    hinge = (variance_hinge(view1) + variance_hinge(view2)) / 2
    penalty = covariance_penalty(view1) + covariance_penalty(view2)
    return invariance * distance + variance * hinge + covariance * penalty
