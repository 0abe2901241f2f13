"""Objectives on matched cells and regions: VICRegL and SCRL."""

import torch
from torch import Tensor, nn

from densecl.distributed import all_reduce, world_size
from densecl.registry import MODELS

from .functional import full_precision, region_distances
from .functional.local import off_diagonals
from .redundancy import centred


@MODELS.register_module()
class PositionVICReg(nn.Module):
    """VICReg of matched cells, statistics taken of each position over the batch of all processes (VICRegL).

    See :func:`~densecl.models.losses.functional.position_vicreg`. Moments are summed over processes with
    gradient, so that losses and gradients are those of one process with the whole batch.

    Args:
        invariance: weight of the squared distance of matched cells.
        variance: weight of the hinge that keeps each channel's standard deviation at 1 or above.
        covariance: weight of the squared covariances of different channels.
    """

    def __init__(
        self, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
    ) -> None:
        super().__init__()
        self.weights = (invariance, variance, covariance)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Score G matched pairs an image, (B, G, D) each, the projector's output as it comes.

        Returns:
            The scalar loss, and its three terms without their weights.

        Raises:
            ValueError: for a batch of one, which has no variance.
        """
        with torch.autocast(first.device.type, enabled=False):
            distance = (full_precision(first) - full_precision(second)).square().mean()
            sides = [self._spread(x) for x in (first, second)]
            hinge, penalty = (sum(terms) / 2 for terms in zip(*sides, strict=True))
            terms = (distance, hinge, penalty)
            loss = sum(w * term for w, term in zip(self.weights, terms, strict=True))
        names = ('invariance', 'variance', 'covariance')
        return loss, {name: term.detach() for name, term in zip(names, terms, strict=True)}

    @staticmethod
    def _spread(x: Tensor) -> tuple[Tensor, Tensor]:
        """Variance hinge and covariance penalty of one side."""
        x, rows = centred(x)
        if rows < 2:
            raise ValueError('PositionVICReg needs a batch of at least 2 for its variances, got 1')
        matrices = all_reduce(torch.einsum('bpi,bpj->pij', x, x)) / (rows - 1)
        hinge = (1 - (matrices.diagonal(dim1=1, dim2=2) + 1e-4).sqrt()).relu().mean()
        return hinge, off_diagonals(matrices).square().sum((1, 2)).mean() / x.shape[2]


@MODELS.register_module()
class RegionConsistency(nn.Module):
    """``2 - 2 cos(prediction, key)``, mean over the regions that count (SCRL, Roh et al., 2021).

    It needs a momentum target and a predictor. Over processes the mean of losses and gradients is that of one
    process with all regions, however unevenly those that count are spread. SCRL *sums* both directions where
    a head takes the mean: ``loss_weight=2`` on the head.
    """

    def forward(
        self, query: Tensor, positive: Tensor, counted: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score (N, C) predictions against (N, C) keys, where (N,) bool ``counted``.

        Returns:
            The scalar loss, in [0, 4] (the mean over processes is), 0 where no process has a region; and
            ``pos_sim``, the mean cosine of this process's regions.
        """
        terms = torch.where(counted, region_distances(query, positive), 0.0)
        total = all_reduce(counted.sum().to(terms.dtype))
        loss = terms.sum() * world_size() / total.clamp(min=1)
        pos_sim = torch.where(counted, 1 - terms.detach() / 2, 0.0).sum() / counted.sum().clamp(min=1)
        return loss, {'pos_sim': pos_sim}
