"""Masks of objects told apart: DetCon."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..tiled import similarity_logsumexp
from .precision import no_autocast, unit


def mask_repeats(ids: Tensor) -> Tensor:
    """How often each row's mask is among the masks of its view, (B, K) integers -> (B, K) int64."""
    return (ids[:, :, None] == ids[:, None]).sum(2)


def mask_contrast(
    query: Tensor,
    keys: Tensor,
    own: Tensor,
    query_ids: Tensor,
    key_ids: Tensor,
    temperature: float | Tensor,
) -> Tensor:
    """InfoNCE among the masks of a batch, one direction (DetCon, Hénaff et al., 2021, eq. 3).

    A mask's positives are those of its number in the other view of its image; the label is spread evenly
    over them: ``logsumexp(everything) - mean(positives)``. Everything: the masks of all images in both
    views, but for the same mask in the query's own view. A mask that was drawn n times has the weight 1 / n,
    one that the other view does not hold has none; mean over all B * K. The official code sums both
    directions.

    Args:
        query: (B, K, C), masks of one view, predicted where there is a predictor.
        keys: (B, K, C), masks of the other view.
        own: (B, K, C), the query view's masks once more, as keys (of the target, where there is one).
        query_ids: (B, K) integers, which mask each row of ``query`` and of ``own`` is.
        key_ids: (B, K), likewise of ``keys``.
        temperature: t > 0; 0.1.

    Returns:
        Scalar >= 0.
    """
    terms = mask_contrast_terms(query, keys, own, query_ids, key_ids, temperature)
    return (terms / mask_repeats(query_ids)).mean()


@no_autocast
def mask_contrast_terms(
    query: Tensor,
    keys: Tensor,
    own: Tensor,
    query_ids: Tensor,
    key_ids: Tensor,
    temperature: float | Tensor,
    reduce: Callable[..., tuple[Tensor, Tensor]] = similarity_logsumexp,
    first: int = 0,
) -> Tensor:
    """:func:`mask_contrast` of each mask, without weights.

    Args:
        reduce: ``reduce(query, columns, keep)``, :func:`~densecl.models.losses.tiled.similarity_logsumexp` or
            what adds the columns of other processes to it.
        first: number of the first of this process's columns in the numbering of ``reduce``.

    Returns:
        (B, K); 0 without gradient where the other view does not hold the mask.
    """
    (batch, count), ids = query_ids.shape, query_ids.flatten()
    query, keys, own = unit(query) / temperature, unit(keys), unit(own)
    images = torch.arange(len(ids), device=ids.device) // count

    def keep(columns: slice, _: Tensor) -> Tensor:
        # Place among the own view's masks, which follow the other view's.
        place = torch.arange(columns.start, columns.stop, device=ids.device) - first - len(ids)
        inside = (place >= 0) & (place < len(ids))
        place = place.clamp(0, len(ids) - 1)
        same = (images[:, None] == images[place]) & (ids[:, None] == ids[place])
        return ~(same & inside)

    columns = torch.cat([keys.flatten(0, 1), own.flatten(0, 1)])
    everything, _ = reduce(query.flatten(0, 1), columns, keep)
    positive = query_ids[:, :, None] == key_ids[:, None]  # (B, K, K)
    logits = torch.where(positive, query @ keys.transpose(1, 2), 0.0).sum(2)
    mean = logits / positive.sum(2).clamp(min=1)
    return torch.where(positive.any(2), everything.view(batch, count) - mean, 0.0)
