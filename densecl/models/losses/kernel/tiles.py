"""Log-sum-exp of similarities in tiles: the whole similarity matrix is never in memory.

With 65,536 negatives and 49 cells an image, the logits of a dense contrastive loss are the largest tensor of
the whole training step. Here they are visited tile by tile (:mod:`.online_softmax`), and where the keys need
a gradient too, the backward pass visits every tile a second time. What is not a plain log-sum-exp is written
as a function of one tile: :mod:`.tile_functions`.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from densecl.distributed import world_size
from densecl.numerics import full_precision

from .online_softmax import Keep, OnlineSoftmax, key_gradient, logit_tiles
from .ring import Passage, passing_blocks


def similarity_logsumexp(
    query: Tensor, keys: Tensor, keep: Keep | None = None, tile: int | None = None, ring: bool = False
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
        ring: the keys of all ranks count, numbered in rank order; their blocks travel (:mod:`.ring`), in
            the backward pass each together with its gradient. Every rank passes keys of the same shape, and
            either all ranks' keys need a gradient or none do.

    Returns:
        Two (N,) tensors; the maximum carries no gradient. A row without any pair has -inf in both, and zero
        gradient.
    """
    ring = ring and world_size() > 1
    return _LogSumExp.apply(full_precision(query), full_precision(keys), keep, tile, False, ring)[:2]


def similarity_statistics(
    query: Tensor, keys: Tensor, keep: Keep | None = None, tile: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`similarity_logsumexp`, and the mean logit under each row's softmax, in the same pass.

    Returns:
        Three (N,) tensors: the log-sum-exp, with gradient; the maximum; and ``sum_k softmax_k logit_k``, 0
        for a row without any pair. The last two carry no gradient.
    """
    return _LogSumExp.apply(full_precision(query), full_precision(keys), keep, tile, True, False)


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query: Tensor, keys: Tensor, keep, tile, expected, ring):
        need_query, need_keys = ctx.needs_input_grad[:2]
        with torch.autocast(query.device.type, enabled=False):
            state = OnlineSoftmax(query, need_query or expected)
            for first, block in passing_blocks(keys, ring):
                state.add(block, keep, tile, first)
            lse, top = state.finish()
        ctx.keep, ctx.tile, ctx.ring = keep, tile, ring
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
        grad_query = mean * gradient[:, None] if ctx.needs_input_grad[0] else None
        grad_keys = None
        if ctx.needs_input_grad[1]:
            grad_keys = torch.zeros_like(keys, memory_format=torch.contiguous_format)
            with torch.autocast(query.device.type, enabled=False):
                for first, block in passing_blocks(keys, ctx.ring):
                    grad_keys += key_gradient(query, block, lse, gradient, ctx.keep, ctx.tile, first)
                    if ctx.ring:  # it goes on to the rank where its block goes, and is home at the end
                        grad_keys = Passage(grad_keys).wait()
        return grad_query, grad_keys, None, None, None, None


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
