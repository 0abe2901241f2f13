"""Statistics instead of negatives: Barlow Twins and VICReg. Nothing is L2-normalised here.

With ``across_ranks`` a function is given this process's part of the batch, and sums moments over processes.
"""

from torch import Tensor

from densecl.distributed import all_reduce, world_size
from densecl.numerics import full_precision, no_autocast


def over_ranks(x: Tensor, across_ranks: bool) -> Tensor:
    """The sum over processes with gradient, where it is asked for."""
    return all_reduce(x) if across_ranks else x


def centred(x: Tensor, across_ranks: bool) -> tuple[Tensor, int]:
    """(B, ...) minus its means over the batch, and the number of rows; a ValueError where that is 1."""
    x = full_precision(x)
    rows = len(x) * (world_size() if across_ranks else 1)
    if rows < 2:
        raise ValueError(
            'Barlow Twins and VICReg need a batch of at least 2 for its variances, got 1: raise '
            'train_dataloader.batch_size'
        )
    return x - over_ranks(x.sum(0), across_ranks) / rows, rows


def off_diagonals(matrices: Tensor) -> Tensor:
    """The (P, D - 1, D) off-diagonal entries of (P, D, D) matrices."""
    size = matrices.shape[-1]
    # Without its first entry, every run of D + 1 ends with the next one of the diagonal.
    return matrices.flatten(1)[:, 1:].unflatten(1, (size - 1, size + 1))[..., :-1]


@no_autocast
def cross_correlation(view1: Tensor, view2: Tensor, eps: float = 1e-5, across_ranks: bool = False) -> Tensor:
    """Correlations of the channels of two views over the batch (Barlow Twins, eq. 2), (B, D) each -> (D, D).

    The variance is biased and ``eps`` is added, so that a perfect correlation stays a little below 1.
    """
    sides = []
    for x in (view1, view2):
        x, rows = centred(x, across_ranks)
        sides.append(x * (over_ranks(x.square().sum(0), across_ranks) / rows + eps).rsqrt())
    return over_ranks(sides[0].T @ sides[1], across_ranks) / rows


def redundancy(matrix: Tensor, weight: float) -> Tensor:
    """Barlow Twins' loss of a (D, D) correlation matrix."""
    return (1 - matrix.diagonal()).square().sum() + weight * off_diagonals(matrix[None]).square().sum()


def barlow_twins(view1: Tensor, view2: Tensor, redundancy_weight: float) -> Tensor:
    """Barlow Twins of two (B, D) views of the whole batch, B >= 2; see :class:`.BarlowTwins`."""
    return redundancy(cross_correlation(view1, view2), redundancy_weight)


@no_autocast
def vicreg_terms(first: Tensor, second: Tensor, across_ranks: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distance, variance hinge and covariance penalty of P positions, (B, P, D) each.

    All are means over channels and positions (of the penalty the squares are summed over one channel), the
    latter two also over the two views.
    """
    distance = (full_precision(first) - full_precision(second)).square().mean()
    (hinge1, penalty1), (hinge2, penalty2) = (spread(x, across_ranks) for x in (first, second))
    return distance, (hinge1 + hinge2) / 2, (penalty1 + penalty2) / 2


def spread(x: Tensor, across_ranks: bool) -> tuple[Tensor, Tensor]:
    """Variance hinge and covariance penalty of one view (VICReg, eq. 1 to 4)."""
    x, rows = centred(x, across_ranks)
    matrices = over_ranks(x.permute(1, 2, 0) @ x.transpose(0, 1), across_ranks) / (rows - 1)
    deviations = (matrices.diagonal(dim1=1, dim2=2) + 1e-4).sqrt()
    penalty = off_diagonals(matrices).square().sum((1, 2)).mean() / x.shape[2]
    return (1 - deviations).relu().mean(), penalty


def weighted(weights: tuple[float, ...], terms: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of VICReg's terms, and the terms for the log."""
    loss = sum(weight * term for weight, term in zip(weights, terms, strict=True))
    names = ('invariance', 'variance', 'covariance')
    return loss, {name: term.detach() for name, term in zip(names, terms, strict=True)}


def vicreg(view1: Tensor, view2: Tensor, invariance: float, variance: float, covariance: float) -> Tensor:
    """VICReg of two (B, D) views of the whole batch, B >= 2, scaled as the official code does it."""
    distance, hinge, penalty = vicreg_terms(view1[:, None], view2[:, None])
    return weighted((invariance, variance, covariance), (distance, hinge, 2 * penalty))[0]
