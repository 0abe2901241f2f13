"""Objectives with batch statistics in place of negatives: Barlow Twins, VICReg, VICRegL's local criterion.

With several processes, moments are summed over them with gradient (``across_ranks``). So losses and gradients
equal those of one process with the whole batch. (The official Barlow Twins reduces outside autograd: its
gradients are 1/world of these.) Vectors are not L2-normalised. A batch of one image has no variance and is a
ValueError.
"""

import torch
from torch import Tensor

from densecl.distributed import all_reduce, gather, world_size
from densecl.messages import check_choice
from densecl.numerics import full_precision, no_autocast
from densecl.registry import MODELS
from densecl.structures import Comparison

from .objective import Objective


def over_ranks(x: Tensor, across_ranks: bool) -> Tensor:
    """The sum over processes, with gradient, if ``across_ranks``; else ``x``."""
    return all_reduce(x) if across_ranks else x


def centred(x: Tensor, across_ranks: bool) -> tuple[Tensor, int]:
    """(B, ...) minus its mean over the batch, and the number of rows; a ValueError if that is 1."""
    x = full_precision(x)
    rows = len(x) * (world_size() if across_ranks else 1)
    if rows < 2:
        raise ValueError(
            'Barlow Twins and VICReg need a batch of at least 2 for its variances, got 1: raise '
            'train_dataloader.batch_size'
        )
    return x - over_ranks(x.sum(0), across_ranks) / rows, rows


def from_ranks(
    views: tuple[Tensor, ...], matrices: int, across_ranks: bool
) -> tuple[tuple[Tensor, ...], bool]:
    """Gather the views (B, ..., D), if that is cheaper than summing ``matrices`` of (D, D) over processes.

    It is cheaper if the rows of all processes are fewer than those of the matrices. VICReg's 2,048 rows of
    8,192 channels are a quarter of its matrices; the official code always gathers.

    Returns:
        The views, and whether sums over processes are still needed.
    """
    world = world_size()
    if not across_ranks or world == 1:
        return views, False
    if world * len(views[0]) * len(views) > matrices * views[0].shape[-1]:
        return views, True
    return gather(torch.stack(views, 1)).unbind(1), False


def off_diagonals(matrices: Tensor) -> Tensor:
    """The off-diagonal entries of matrices, (P, D, D) -> (P, D - 1, D)."""
    size = matrices.shape[-1]
    # After the first entry is dropped, every D + 1 entries end with an entry of the diagonal.
    return matrices.flatten(1)[:, 1:].unflatten(1, (size - 1, size + 1))[..., :-1]


@no_autocast
def cross_correlation(view1: Tensor, view2: Tensor, eps: float = 1e-5, across_ranks: bool = False) -> Tensor:
    """Correlations of the channels of two views over the batch (Barlow Twins, eq. 2), (B, D) each -> (D, D).

    ``eps`` is added to the (biased) variance, so a perfect correlation is a little below 1.
    """
    sides, (views, across_ranks) = [], from_ranks((view1, view2), 1, across_ranks)
    for x in views:
        x, rows = centred(x, across_ranks)
        sides.append(x * (over_ranks(x.square().sum(0), across_ranks) / rows + eps).rsqrt())
    return over_ranks(sides[0].T @ sides[1], across_ranks) / rows


def redundancy(matrix: Tensor, weight: float) -> Tensor:
    """The loss of Barlow Twins from a correlation matrix (D, D)."""
    return (1 - matrix.diagonal()).square().sum() + weight * off_diagonals(matrix[None]).square().sum()


def barlow_twins(view1: Tensor, view2: Tensor, redundancy_weight: float) -> Tensor:
    """Barlow Twins of two views (B, D) of the whole batch, B >= 2; see :class:`.BarlowTwins`."""
    return redundancy(cross_correlation(view1, view2), redundancy_weight)


@no_autocast
def vicreg_terms(first: Tensor, second: Tensor, across_ranks: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distance, variance hinge and covariance penalty of two views (B, P, D) with P positions.

    Each is a mean over channels and positions. For the penalty, the squared covariances of a channel with all
    others are summed first. Hinge and penalty are also means over the two views.
    """
    distance = (full_precision(first) - full_precision(second)).square().mean()
    views, across_ranks = from_ranks((first, second), 2, across_ranks)
    (hinge1, penalty1), (hinge2, penalty2) = (hinge_and_penalty(x, across_ranks) for x in views)
    return distance, (hinge1 + hinge2) / 2, (penalty1 + penalty2) / 2


def hinge_and_penalty(x: Tensor, across_ranks: bool) -> tuple[Tensor, Tensor]:
    """Variance hinge and covariance penalty of one view (B, P, D) (VICReg, eq. 1 to 4)."""
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
    """VICReg of two views (B, D) of the whole batch, B >= 2, scaled as in the official code."""
    distance, hinge, penalty = vicreg_terms(view1[:, None], view2[:, None])
    return weighted((invariance, variance, covariance), (distance, hinge, 2 * penalty))[0]


def answered(comparison: Comparison) -> tuple[Tensor, Tensor]:
    """The units and the answer of each, (B, N, D) both."""
    return comparison.query.compared, comparison.match.sum_of(comparison.key.vectors)


@MODELS.register_module()
class BarlowTwins(Objective):
    """``sum_i (1 - C_ii)^2 + redundancy_weight * sum_{i != j} C_ij^2`` (Zbontar et al., 2021, eq. 1).

    C is the correlation matrix of the channels of two views over the units of all processes. Each channel is
    standardised as in batch norm without parameters, with ``eps`` added to the variance.
    """

    needs = frozenset({'one answer', 'always'})

    def __init__(self, redundancy_weight: float = 0.0051, eps: float = 1e-5) -> None:
        super().__init__()
        self.redundancy_weight, self.eps = redundancy_weight, eps

    def score(self, comparison):
        """The loss; ``correlation``, the mean of C_ii; ``redundancy``, the root mean square of the others."""
        first, second = (x.flatten(0, 1) for x in answered(comparison))
        matrix = cross_correlation(first, second, self.eps, across_ranks=True)
        same, others = matrix.detach().diagonal(), off_diagonals(matrix.detach()[None])
        diagnostics = dict(correlation=same.mean(), redundancy=others.square().mean().sqrt())
        return redundancy(matrix, self.redundancy_weight), diagnostics


@MODELS.register_module()
class VICReg(Objective):
    """Variance-invariance-covariance regularisation (VICReg, Bardes et al., 2022, eq. 6).

    Args:
        invariance: weight of the squared distance of the views.
        variance: weight of the hinge that keeps each channel's standard deviation at 1 or above.
        covariance: weight of the squared covariances of different channels, summed over both views.
        form: ``'code'``, as in the official code: the squared distance is a mean over channels, too, and the
            hinge is the mean of the two views. ``'paper'``: the squared distance is summed over channels, and
            the hinges are summed.
    """

    needs = frozenset({'one answer', 'always'})

    def __init__(
        self, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0, form: str = 'code'
    ) -> None:
        super().__init__()
        check_choice('VICReg: form', form, ('code', 'paper'))
        self.weights, self.form = (invariance, variance, covariance), form

    def score(self, comparison):
        """The loss, and its terms without weights: ``invariance``, ``variance``, ``covariance``."""
        first, second = (x.flatten(0, 1)[:, None] for x in answered(comparison))
        distance, hinge, penalty = vicreg_terms(first, second, across_ranks=True)
        if self.form == 'paper':
            distance, hinge = distance * first.shape[-1], 2 * hinge
        return weighted(self.weights, (distance, hinge, 2 * penalty))


@MODELS.register_module()
class PositionVICReg(VICReg):
    """VICReg of matched cells. Statistics are over the batch for each position, never over cells of an image.

    The local criterion of VICRegL (Bardes et al., 2022), scaled as in its official code: the covariance term
    is the mean of both views, while in VICReg it is the sum. Position g is the g-th cell that has a match.
    The three weights are as in :class:`VICReg`, for each position.
    """

    def __init__(self, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> None:
        super().__init__(invariance, variance, covariance)

    def score(self, comparison):
        return weighted(self.weights, vicreg_terms(*answered(comparison), across_ranks=True))
