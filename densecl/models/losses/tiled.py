"""Log-sum-exp of similarities in tiles: the whole similarity matrix is never in memory.

With 65,536 negatives and 49 cells an image, the logits of a dense contrastive loss are the largest tensor of
the whole training step. Here they are visited tile by tile (:mod:`.online_softmax`), and where the keys need
a gradient too, the backward pass visits every tile a second time. What is not a plain log-sum-exp is written
as a function of one tile: :mod:`.tiled_functions`.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .online_softmax import (
    TILE,
    Keep,
    OnlineSoftmax,
    full_precision,
    key_gradient,
    logit_tiles,
)
from .tiled_functions import tiled_logsumexp, tiled_row_sum

__all__ = [
    'TILE',
    'hardest_keys',
    'similarity_logsumexp',
    'similarity_statistics',
    'tiled_logsumexp',
    'tiled_row_sum',
]


def similarity_logsumexp(
    query: Tensor, keys: Tensor, keep: Keep | None = None, tile: int | None = None
) -> tuple[Tensor, Tensor]:
    """``logsumexp_k(query_i . key_k)`` and ``max_k(query_i . key_k)``, tile by tile.

    Half-precision inputs are computed in float32 and get gradients in half precision; float64 stays float64.
    Where ``keys`` need no gradient nothing of them is kept for the backward pass, so a queue may be
    overwritten right after.

    Args:
        query: (N, C), already divided by the temperature.
        keys: (K, C).
        keep: which pairs count: ``keep(columns, logits)`` gets a slice of the keys and their (N, k) logits,
            without gradient, and returns a bool (N, k). It is asked again in the backward pass where the
            keys need a gradient. By default all pairs count.
        tile: keys in a tile; by default what is fast on the device.

    Returns:
        Two (N,) tensors; the maximum carries no gradient. A row without any pair has -inf in both, and zero
        gradient.
    """
    return similarity_statistics(query, keys, keep, tile, expected=False)[:2]


def similarity_statistics(
    query: Tensor,
    keys: Tensor,
    keep: Keep | None = None,
    tile: int | None = None,
    expected: bool = True,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """:func:`similarity_logsumexp`, and the mean logit under each row's softmax, in the same pass.

    Returns:
        Three (N,) tensors: the log-sum-exp, with gradient; the maximum; and ``sum_k softmax_k logit_k``, 0
        for a row without any pair (None without ``expected``). The last two carry no gradient.
    """
    return _LogSumExp.apply(full_precision(query), full_precision(keys), keep, tile, expected)


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query: Tensor, keys: Tensor, keep, tile, expected):
        need_query, need_keys = ctx.needs_input_grad[:2]
        with torch.autocast(query.device.type, enabled=False):
            state = OnlineSoftmax(query, need_query or expected)
            state.add(keys, keep, tile)
            lse, top = state.finish()
        ctx.keep, ctx.tile = keep, tile
        ctx.save_for_backward(
            state.mean if need_query else None,
            *((query, keys, lse) if need_keys else (None, None, None)),
        )
        mean_logit = (query * state.mean).sum(1) if expected else None
        ctx.mark_non_differentiable(top, *([mean_logit] if expected else []))
        return lse, top, mean_logit

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, *_):
        mean, query, keys, lse = ctx.saved_tensors
        grad_query = grad_keys = None
        if ctx.needs_input_grad[0]:
            grad_query = mean * gradient[:, None]
        if ctx.needs_input_grad[1]:
            with torch.autocast(query.device.type, enabled=False):
                grad_keys = key_gradient(query, keys, lse, gradient, ctx.keep, ctx.tile)
        return grad_query, grad_keys, None, None, None


@torch.no_grad()
def hardest_keys(
    query: Tensor, keys: Tensor, k: int, keep: Keep | None = None, tile: int | None = None
) -> tuple[Tensor, Tensor]:
    """The ``k`` most similar keys of each query, tile by tile, without gradient.

    Args:
        query: (N, C).
        keys: (K, C), K >= ``k``.
        k: how many.
        keep: which pairs count, as in :func:`similarity_logsumexp`.
        tile: keys in a tile.

    Returns:
        (N, k) logits in descending order and (N, k) indices of keys. Where fewer than ``k`` pairs count, the
        remaining logits are -inf and their indices mean nothing.

    Raises:
        ValueError: if there are fewer than ``k`` keys.
    """
    if k > len(keys):
        raise ValueError(f'hardest_keys: k = {k}, but there are only {len(keys)} keys; lower k')
    query, keys = full_precision(query), full_precision(keys)
    values = query.new_full((len(query), k), float('-inf'))
    indices = torch.zeros(len(query), k, dtype=torch.long, device=query.device)
    with torch.autocast(query.device.type, enabled=False):
        for rows, columns, logits in logit_tiles(query, keys, keep, tile):
            best, where = logits.topk(min(k, logits.shape[1]), dim=1)
            best = torch.cat([values[rows], best], 1)
            where = torch.cat([indices[rows], where + columns.start], 1)
            values[rows], order = best.topk(k, dim=1)
            indices[rows] = where.gather(1, order)
    return values, indices
