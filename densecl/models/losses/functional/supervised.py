"""Many positives by label: SupCon and SINCERE."""

import torch
from torch import Tensor

from ..tiled import similarity_logsumexp
from ..tiled_functions import tiled_row_sum
from .contrastive import contrastive_terms
from .precision import no_autocast, unit


def class_sums(vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """For each row the sum of its class, and how many it has.

    Args:
        vectors: (N, C).
        labels: (N,) integers.

    Returns:
        (N, C) sums and (N,) counts in the vectors' dtype, each row itself included.
    """
    # The first place of a label in sorted order is a class number below N, without a synchronisation.
    group = torch.searchsorted(labels.sort().values, labels)
    sums = torch.zeros_like(vectors).index_add(0, group, vectors)
    counts = vectors.new_zeros(len(vectors)).index_add(0, group, torch.ones_like(vectors[:, 0]))
    return sums[group], counts[group]


@no_autocast
def sup_con(
    features: Tensor, labels: Tensor, temperature: float | Tensor, form: str = 'out'
) -> Tensor:
    """Supervised contrastive loss (Khosla et al., 2020, eq. 2 ``'out'`` and eq. 3 ``'in'``).

    The positives of an anchor are all others of its label; the denominator has everything but itself.
    An anchor without positives adds 0 and counts in the mean. Not rescaled: the official code multiplies
    by ``temperature / 0.07``. Labels are compared as they are: -1 is a class like any other.

    Args:
        features: (N, C), all views of the batch, stacked.
        labels: (N,) integers.
        temperature: t > 0; 0.1.
        form: mean over the positives outside (``'out'``) or inside (``'in'``, never larger) of the log.

    Returns:
        Scalar, the mean over the N anchors.

    Raises:
        ValueError: for another ``form``.
    """
    if form not in ('out', 'in'):
        raise ValueError(f"sup_con: form must be 'out' or 'in', got {form!r}")
    vectors = unit(features)
    query, rows = vectors / temperature, torch.arange(len(vectors), device=vectors.device)[:, None]
    sums, counts = class_sums(vectors, labels)
    positives = (counts - 1).clamp(min=1)
    everything, _ = similarity_logsumexp(query, vectors, lambda cols, _: rows != rows[cols].T)
    if form == 'out':
        mean_logit = (query * (sums - vectors)).sum(-1) / positives
    else:
        lse, _ = similarity_logsumexp(
            query,
            vectors,
            lambda cols, _: (labels[:, None] == labels[cols]) & (rows != rows[cols].T),
        )
        mean_logit = lse - positives.log()
    return torch.where(counts > 1, everything - mean_logit, 0.0).mean()


@no_autocast
def sincere(features: Tensor, labels: Tensor, temperature: float | Tensor) -> Tensor:
    """SINCERE (Feeney and Hughes, 2023): SupCon whose other positives never enter the denominator.

    Each positive pair stands against the anchor's negatives alone; mean over the anchor's positives, then
    over anchors. An anchor without positives adds 0 and counts in the mean (the official code gives NaN).

    Args:
        features: (N, C), all views of the batch, stacked.
        labels: (N,) integers.
        temperature: t > 0; 0.07 in the official class, 0.1 in its recipes.

    Returns:
        Scalar.
    """
    vectors = unit(features)
    query, rows = vectors / temperature, torch.arange(len(vectors), device=vectors.device)[:, None]
    lse, _ = similarity_logsumexp(query, vectors, lambda cols, _: labels[:, None] != labels[cols])

    def positive_terms(query: Tensor, block: Tensor, cols: slice, lse: Tensor) -> Tensor:
        positive = (labels[:, None] == labels[cols]) & (rows != rows[cols].T)
        terms = contrastive_terms(query @ block.T, lse[:, None])
        return torch.where(positive, terms, 0.0).sum(1)

    counts = class_sums(vectors.detach(), labels)[1]
    return (tiled_row_sum(positive_terms, query, vectors, lse) / (counts - 1).clamp(min=1)).mean()
