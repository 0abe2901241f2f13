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
    rows = torch.where(valid[..., None], key, 0.0).flatten(0, 1)
    sums = torch.cat([rows.sum(0), rows.square().sum(0), valid.sum().to(rows.dtype)[None]])
    total, squares, count = all_reduce(sums).split([key.shape[-1], key.shape[-1], 1])
    mean = total / count.clamp(min=1)
    scale = (squares / count.clamp(min=1) - mean.square()).clamp(min=0).add(eps).rsqrt()
    return (query - mean) * scale, (key - mean) * scale


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
