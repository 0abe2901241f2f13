"""Barlow Twins and VICReg over the batch of all processes.

Each process computes the loss of the whole batch from moments that are summed over processes with gradient,
so that losses and gradients are those of one process with the whole batch. (The official Barlow Twins
reduces outside autograd: its gradients are 1/world of these.) A (D, D) matrix is summed rather than (B, D)
rows gathered: the product costs each process its own rows only.
"""

import torch
from torch import Tensor, nn

from densecl.distributed import all_reduce, world_size
from densecl.registry import MODELS

from .functional import full_precision
from .functional.redundancy import off_diagonal
from .samples import Samples


def centred(x: Tensor) -> tuple[Tensor, int]:
    """(B, D) minus the channels' means over all processes, and the number of rows of all processes."""
    x = full_precision(x)
    rows = len(x) * world_size()
    return x - all_reduce(x.sum(0)) / rows, rows


@MODELS.register_module()
class BarlowTwins(nn.Module):
    """``sum_i (1 - C_ii)^2 + weight * sum_{i != j} C_ij^2`` (Barlow Twins, Zbontar et al., 2021, eq. 1).

    C is the correlation of the channels of two views over the batch of all processes, each channel
    standardised as batch norm without parameters does it.

    Args:
        redundancy_weight: lambda, 0.0051 in the paper.
        eps: added to the variances.
    """

    def __init__(self, redundancy_weight: float = 0.0051, eps: float = 1e-5) -> None:
        super().__init__()
        self.redundancy_weight = redundancy_weight
        self.eps = eps

    def forward(
        self,
        query: Tensor,
        positive: Tensor,
        new_keys: Tensor | None = None,
        samples: Samples | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score two views, (B, D) each, the projector's output as it comes.

        Returns:
            The scalar loss, and ``correlation``, the mean of C_ii, and ``redundancy``, the root mean square
            of C_ij between different channels.
        """
        with torch.autocast(query.device.type, enabled=False):
            first, rows = self._standardised(query)
            second, _ = self._standardised(positive)
            matrix = all_reduce(first.T @ second) / rows
            same, others = matrix.diagonal(), off_diagonal(matrix).square()
            loss = (1 - same).square().sum() + self.redundancy_weight * others.sum()
        diagnostics = dict(correlation=same.detach().mean(), redundancy=others.detach().mean().sqrt())
        return loss, diagnostics

    def _standardised(self, x: Tensor) -> tuple[Tensor, int]:
        x, rows = centred(x)
        return x * (all_reduce(x.square().sum(0)) / rows + self.eps).rsqrt(), rows


@MODELS.register_module()
class VICReg(nn.Module):
    """Variance-invariance-covariance regularisation (VICReg, Bardes et al., 2022, eq. 6).

    Variances and covariances are those of the batch of all processes.

    Args:
        invariance: weight of the squared distance of the views.
        variance: weight of the hinge that keeps each channel's standard deviation at 1 or above.
        covariance: weight of the squared covariances of different channels.
        form: ``'code'``, the official code: squared distance a mean over channels too, hinge the mean of the
            two views'; ``'paper'``: squared distance summed over channels, hinges summed.
    """

    def __init__(
        self,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        form: str = 'code',
    ) -> None:
        super().__init__()
        if form not in ('code', 'paper'):
            raise ValueError(f"VICReg: form must be 'code' or 'paper', got {form!r}")
        self.weights = (invariance, variance, covariance)
        self.form = form

    def forward(
        self,
        query: Tensor,
        positive: Tensor,
        new_keys: Tensor | None = None,
        samples: Samples | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score two views, (B, D) each, the expander's output as it comes.

        Returns:
            The scalar loss, and its three terms without their weights: ``invariance``, ``variance`` and
            ``covariance``.

        Raises:
            ValueError: for a batch of one, which has no variance.
        """
        with torch.autocast(query.device.type, enabled=False):
            distance = (full_precision(query) - full_precision(positive)).square().mean()
            (hinge1, penalty1), (hinge2, penalty2) = self._spread(query), self._spread(positive)
            hinge = (hinge1 + hinge2) / 2
            if self.form == 'paper':
                distance, hinge = distance * query.shape[1], 2 * hinge
            terms = (distance, hinge, penalty1 + penalty2)
            loss = sum(w * term for w, term in zip(self.weights, terms, strict=True))
        names = ('invariance', 'variance', 'covariance')
        return loss, {name: term.detach() for name, term in zip(names, terms, strict=True)}

    @staticmethod
    def _spread(x: Tensor) -> tuple[Tensor, Tensor]:
        """Variance hinge and covariance penalty of one view."""
        x, rows = centred(x)
        if rows < 2:
            raise ValueError('VICReg needs a batch of at least 2 for its variances, got 1')
        matrix = all_reduce(x.T @ x) / (rows - 1)
        hinge = (1 - (matrix.diagonal() + 1e-4).sqrt()).relu().mean()
        return hinge, off_diagonal(matrix).square().sum() / x.shape[1]
