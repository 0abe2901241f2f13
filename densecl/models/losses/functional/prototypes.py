"""Orthonormal prototypes, one a class, against collapse (CLOP)."""

import torch
from torch import Tensor

from .precision import no_autocast, unit


def orthonormal_prototypes(
    classes: int, dim: int, generator: torch.Generator | None = None
) -> Tensor:
    """Random orthonormal anchors: right singular vectors of a normal matrix (CLOP, Li et al., 2024).

    Args:
        classes: number of anchors.
        dim: their width, at least ``classes``.
        generator: of the random matrix; every process must draw the same one or get it broadcast.

    Returns:
        (classes, dim) float32 on the generator's device, rows orthonormal.

    Raises:
        ValueError: where there are more classes than dimensions.
    """
    if classes > dim:
        raise ValueError(
            f'{classes} orthonormal prototypes need at least {classes} dimensions, got {dim}: '
            'make the projector wider'
        )
    device = 'cpu' if generator is None else generator.device
    matrix = torch.randn(classes, dim, dtype=torch.float64, generator=generator, device=device)
    return torch.linalg.svd(matrix, full_matrices=False).Vh.float()


@no_autocast
def prototype_alignment(features: Tensor, labels: Tensor, prototypes: Tensor) -> Tensor:
    """``1 - cos(z_i, a_{y_i})``, mean over the labelled rows (CLOP, Li et al., 2024).

    Added to a contrastive loss with a weight of 1 in the official code.

    Args:
        features: (N, C), all views of the batch, stacked.
        labels: (N,) integers; rows of label -1 are skipped.
        prototypes: (classes, C).

    Returns:
        Scalar; 0 where nothing is labelled.
    """
    labelled = labels >= 0
    anchors = unit(prototypes)[labels.clamp(min=0)]
    terms = 1 - (unit(features) * anchors).sum(-1)
    return torch.where(labelled, terms, 0.0).sum() / labelled.sum().clamp(min=1)
