"""The mathematics of contrastive losses: plain tensors in, a scalar out.

Each function normalises inside where its paper does, computes in float32 whatever the autocast state
(float64 stays float64), and knows nothing of queues, processes or configs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .tiled import similarity_logsumexp


def unit(x: Tensor, dim: int = -1) -> Tensor:
    """L2-normalise along ``dim`` in at least float32; a zero vector stays zero."""
    return F.normalize(x if x.dtype == torch.float64 else x.float(), dim=dim)


def info_nce(
    query: Tensor, positive: Tensor, negatives: Tensor, temperature: float | Tensor
) -> Tensor:
    """InfoNCE with negatives shared by all queries (van den Oord et al., 2018; MoCo, He et al., 2020, eq. 1).

    ``-log( exp(q.k+ / t) / (exp(q.k+ / t) + sum_k exp(q.k / t)) )``, mean over the queries, on unit
    vectors: all three inputs are normalised inside.

    Args:
        query: (N, C).
        positive: (N, C), the key of each query.
        negatives: (K, C).
        temperature: t > 0.

    Returns:
        Scalar; 0 where K is 0. Float32, or float64 for float64 inputs.
    """
    return info_nce_terms(query, positive, unit(negatives), temperature)[0]


def info_nce_terms(
    query: Tensor, positive: Tensor, negatives: Tensor, temperature: float | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`info_nce` for negatives that are unit vectors already, with what is worth watching.

    Returns:
        The loss; the (N,) cosine of each positive pair; the (N,) bool whether the positive beats every
        negative. The last two carry no gradient.
    """
    with torch.autocast(query.device.type, enabled=False):
        query, positive = unit(query), unit(positive)
        cosine = (query * positive).sum(-1)
        if len(negatives) == 0:
            return query.sum() * 0, cosine.detach(), torch.ones_like(cosine, dtype=torch.bool)
        lse, hardest = similarity_logsumexp(query / temperature, negatives.to(query.dtype))
        logit = cosine / temperature
        # -log(e^p / (e^p + e^n)) = log(1 + e^(n - p))
        loss = F.softplus(lse - logit).mean()
        return loss, cosine.detach(), logit.detach() > hardest
