"""Statistics of the batch instead of negatives: Barlow Twins, VICReg and VICRegL's local criterion.

Each process computes the loss of the whole batch from moments that are summed over processes with gradient,
so that losses and gradients are those of one process with the whole batch. (The official Barlow Twins
reduces outside autograd: its gradients are 1/world of these.) Nothing is L2-normalised here. A batch of one,
which has no variance, is a ValueError.
"""

from torch import Tensor

from densecl.registry import MODELS
from densecl.structures import Comparison

from .functional.statistics import cross_correlation, off_diagonals, redundancy, vicreg_terms, weighted
from .objective import Objective


def answered(comparison: Comparison) -> tuple[Tensor, Tensor]:
    """The units and the one answer of each, (B, N, D) both."""
    return comparison.query.compared, comparison.match.sum_of(comparison.key.vectors)


@MODELS.register_module()
class BarlowTwins(Objective):
    """``sum_i (1 - C_ii)^2 + weight * sum_{i != j} C_ij^2`` (Barlow Twins, Zbontar et al., 2021, eq. 1).

    C is the correlation of the channels of two views over the units of all processes, each channel
    standardised as batch norm without parameters does it.

    Args:
        redundancy_weight: lambda, 0.0051 in the paper.
        eps: added to the variances.
    """

    needs = frozenset({'one answer'})

    def __init__(self, redundancy_weight: float = 0.0051, eps: float = 1e-5) -> None:
        super().__init__()
        self.redundancy_weight, self.eps = redundancy_weight, eps

    def score(self, comparison):
        """The loss; ``correlation``, the mean of C_ii, and ``redundancy``, the root mean square of others."""
        first, second = (x.flatten(0, 1) for x in answered(comparison))
        matrix = cross_correlation(first, second, self.eps, across_ranks=True)
        same, others = matrix.detach().diagonal(), off_diagonals(matrix.detach()[None])
        diagnostics = dict(correlation=same.mean(), redundancy=others.square().mean().sqrt())
        return redundancy(matrix, self.redundancy_weight), diagnostics


@MODELS.register_module()
class VICReg(Objective):
    """Variance-invariance-covariance regularisation (VICReg, Bardes et al., 2022, eq. 6).

    Variances and covariances are those of the units of all processes.

    Args:
        invariance: weight of the squared distance of the views.
        variance: weight of the hinge that keeps each channel's standard deviation at 1 or above.
        covariance: weight of the squared covariances of different channels, summed over both views.
        form: ``'code'``, the official code: squared distance a mean over channels too, hinge the mean of the
            two views'; ``'paper'``: squared distance summed over channels, hinges summed.
    """

    needs = frozenset({'one answer'})

    def __init__(
        self, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0, form: str = 'code'
    ) -> None:
        super().__init__()
        if form not in ('code', 'paper'):
            raise ValueError(f"VICReg: form must be 'code' or 'paper', got {form!r}")
        self.weights, self.form = (invariance, variance, covariance), form

    def score(self, comparison):
        """The loss and its terms without weights: ``invariance``, ``variance``, ``covariance``."""
        first, second = (x.flatten(0, 1)[:, None] for x in answered(comparison))
        distance, hinge, penalty = vicreg_terms(first, second, across_ranks=True)
        if self.form == 'paper':
            distance, hinge = distance * first.shape[-1], 2 * hinge
        return weighted(self.weights, (distance, hinge, 2 * penalty))


@MODELS.register_module()
class PositionVICReg(VICReg):
    """VICReg of matched cells, statistics taken of each position over the batch, never of cells of one image.

    The local criterion of VICRegL (Bardes et al., 2022), scaled as its official code does it: covariance
    terms are the mean of both views, where VICReg's add up. Position g is the g-th cell that has a match.
    The three weights are those of :class:`VICReg`, per position.
    """

    def __init__(self, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> None:
        super().__init__(invariance, variance, covariance)

    def score(self, comparison):
        """See :class:`VICReg`."""
        return weighted(self.weights, vicreg_terms(*answered(comparison), across_ranks=True))
