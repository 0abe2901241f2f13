"""Cells of feature maps against cells: any number of positives each, or none."""

import torch
from torch import Tensor

from ..tiled import similarity_logsumexp
from .contrastive import contrastive_terms
from .precision import no_autocast, unit


def multi_positive_info_nce(
    query: Tensor,
    keys: Tensor,
    positives: Tensor,
    temperature: float | Tensor,
    negatives: Tensor | None = None,
    form: str = 'in',
    per_image: bool = False,
) -> Tensor:
    """InfoNCE of queries that have any number of positives, on unit vectors.

    With ``sum+`` the sum of ``exp(cosine / t)`` over a query's positives and ``sum-`` over its negatives, a
    query's term is ``-log(sum+ / (sum+ + sum-))``, the positives inside the logarithm (PixContrast, Xie et
    al., 2021, eq. 2, whose denominator is all keys); or ``mean_p -log(e^p / (sum+ + sum-))`` over its
    positives p, outside of it (SetSim, Wang et al., 2022), which is never smaller.

    Args:
        query: (N, C) or (B, N, C), normalised here.
        keys: (M, C) or (B, M, C), likewise; the keys of a query's own image.
        positives: bool (N, M) or (B, N, M).
        temperature: t > 0.
        negatives: (K, C), shared by all queries, normalised here; in their place, by default, the keys that
            are not a query's positives. Given some, those other keys do not enter at all (SetSim).
        form: where the sum over positives stands, ``'in'`` or ``'out'``, as in :func:`sup_con`.
        per_image: take the mean image by image, then over images, one without a positive counting 0 (SetSim's
            official code).

    Returns:
        Scalar, the mean over the queries that have a positive (of all images alike); 0 if there is none.
    """
    terms = multi_positive_terms(query, keys, positives, temperature, negatives, form)
    count = positives.any(-1)
    if per_image:
        return (terms.sum(-1) / count.sum(-1).clamp(min=1)).mean()
    return terms.sum() / count.sum().clamp(min=1)


@no_autocast
def multi_positive_terms(
    query: Tensor,
    keys: Tensor,
    positives: Tensor,
    temperature: float | Tensor,
    negatives: Tensor | None = None,
    form: str = 'in',
) -> Tensor:
    """:func:`multi_positive_info_nce` of each query.

    Returns:
        (N,) or (B, N); 0 without gradient for a query that has no positive, or, with ``'in'``, no negative.
    """
    query = unit(query) / temperature
    logits = query @ unit(keys).transpose(-1, -2)
    attraction = _masked_logsumexp(logits, positives)
    if negatives is None:
        repulsion = _masked_logsumexp(logits, ~positives)
    else:
        rows = query.flatten(0, -2)
        repulsion = similarity_logsumexp(rows, unit(negatives).to(rows.dtype))[0].view_as(attraction)
    if form == 'in':
        terms = contrastive_terms(attraction, repulsion)
    else:
        mean = torch.where(positives, logits, 0.0).sum(-1) / positives.sum(-1).clamp(min=1)
        terms = torch.logaddexp(attraction, repulsion) - mean
    return torch.where(positives.any(-1), terms, 0.0)


def _masked_logsumexp(logits: Tensor, mask: Tensor) -> Tensor:
    """Over the last dimension, where ``mask``; a very low number where that is nowhere.

    Not -inf: the gradient of a row without entries would be NaN, and 0 times NaN stays NaN.
    """
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min / 4).logsumexp(-1)
