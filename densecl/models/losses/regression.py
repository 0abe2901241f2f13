"""Regression of the answers' features."""

import torch
from torch import Tensor

from densecl.distributed import all_reduce
from densecl.numerics import full_precision, no_autocast
from densecl.registry import MODELS
from densecl.structures import Comparison

from .objective import Objective, mean_of


@no_autocast
def standardised(query: Tensor, key: Tensor, valid: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Standardise both sides with mean and standard deviation of the key's channels.

    Args:
        query: (B, N, D).
        key: (B, N, D), row i answers row i.
        valid: (B, N) bool, the units whose keys enter the statistics, which are over all processes.
        eps: added to the variance.
    """
    query, key = full_precision(query), full_precision(key)
    count = all_reduce(valid.sum().to(key.dtype)).clamp(min=1)
    mean = all_reduce(torch.where(valid[..., None], key, 0.0).sum((0, 1))) / count
    query, key = query - mean, key - mean
    squares = all_reduce(torch.where(valid[..., None], key, 0.0).square().sum((0, 1)))
    scale = (squares / count + eps).rsqrt()
    return query * scale, key * scale


@MODELS.register_module()
class Regression(Objective):
    """Mean squared distance of the query from its answer, in units of the key's standard deviation.

    Each channel is standardised, so every channel counts equally, as for a linear layer after batch norm. In
    a cosine, the channels with the largest variance would dominate. No gradient reaches the keys. The mean is
    over channels and the counted units of all processes. A query that always predicts the mean key has the
    loss 1.
    """

    needs = frozenset({'one answer'})

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        match = comparison.match
        answers, valid = match.sum_of(comparison.key.vectors).detach(), match.found()
        query, key = standardised(comparison.query.compared, answers, valid)
        return mean_of((query - key).square().mean(-1), valid, 'counted'), {}
