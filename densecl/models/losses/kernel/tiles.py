"""What is computed from a similarity matrix tile by tile, so that the whole matrix is never in memory.

With 65,536 negatives and 49 cells an image, it would be the largest tensor of the whole training step.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from densecl.distributed import world_size
from densecl.numerics import full_precision, no_autocast

from .online_softmax import Keep, OnlineSoftmax, key_blocks, logit_tiles
from .ring import Passage, passing_blocks

TileFunction = Callable[..., Tensor]


def similarity_logsumexp(
    query: Tensor, keys: Tensor, keep: Keep | None = None, tile: int | None = None, ring: bool = False
) -> tuple[Tensor, Tensor]:
    """``logsumexp_k(query_i . key_k)`` and ``max_k(query_i . key_k)``, tile by tile.

    Half-precision inputs are computed in float32 and get gradients in half precision; float64 stays float64.
    Where ``keys`` need no gradient nothing of them is kept for the backward pass, so a queue may be
    overwritten right after; where they do, the backward pass visits every tile a second time.

    Args:
        query: (N, C), already divided by the temperature.
        keys: (K, C).
        keep: which pairs count: ``keep(columns, logits)`` gets a slice of the keys and their (N, k) logits,
            without gradient, and returns a bool (N, k), the same in the backward pass. None: all count.
        tile: keys in a tile; by default what is fast on the device.
        ring: the keys of all ranks count, numbered in rank order; their blocks travel (:mod:`.ring`), in
            the backward pass each together with its gradient. Every rank passes keys of the same shape, and
            either all ranks' keys need a gradient or none do.

    Returns:
        Two (N,) tensors; the maximum carries no gradient. A row without any pair has -inf in both, and zero
        gradient.
    """
    ring = ring and world_size() > 1
    return _LogSumExp.apply(full_precision(query), full_precision(keys), keep, tile, ring)


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query: Tensor, keys: Tensor, keep, tile, ring):
        need_query, need_keys = ctx.needs_input_grad[:2]
        with torch.autocast(query.device.type, enabled=False):
            state = OnlineSoftmax(query, need_query)
            for first, block in passing_blocks(keys, ring):
                state.add(block, keep, tile, first)
            lse, top = state.finish()
        ctx.keep, ctx.tile, ctx.ring = keep, tile, ring
        ctx.save_for_backward(state.mean, *((query, keys, lse) if need_keys else (None, None, None)))
        ctx.mark_non_differentiable(top)
        return lse, top

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, _):
        mean, query, keys, lse = ctx.saved_tensors
        grad_query = None if mean is None else mean * gradient[:, None]
        if not ctx.needs_input_grad[1]:
            return grad_query, None, None, None, None
        lse = lse.masked_fill(lse == float('-inf'), float('inf'))[:, None]  # exp(x - inf): no gradient
        weighted = query * gradient[:, None]
        grad_keys = torch.zeros_like(keys, memory_format=torch.contiguous_format)
        with torch.autocast(query.device.type, enabled=False):
            for first, block in passing_blocks(keys, ctx.ring):
                for rows, columns, logits in logit_tiles(query, block, ctx.keep, ctx.tile, first):
                    grad_keys[columns].addmm_(logits.sub_(lse[rows]).exp_().T, weighted[rows])
                if ctx.ring:  # it goes on to the rank where its block goes, and is home at the end
                    grad_keys = Passage(grad_keys).wait()
        return grad_query, grad_keys, None, None, None


@torch.no_grad()
@no_autocast
def hardest_keys(
    query: Tensor, keys: Tensor, k: int, keep: Keep | None = None, tile: int | None = None
) -> tuple[Tensor, Tensor]:
    """The ``k`` most similar of at least ``k`` keys for each query, without gradient.

    Arguments are as in :func:`similarity_logsumexp`.

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
    for rows, columns, logits in logit_tiles(query, keys, keep, tile):
        best, where = logits.topk(min(k, logits.shape[1]), dim=1)
        best = torch.cat([values[rows], best], 1)
        where = torch.cat([indices[rows], where + columns.start], 1)
        values[rows], order = best.topk(k, dim=1)
        indices[rows] = where.gather(1, order)
    return values, indices


def tiled_row_sum(
    function: TileFunction, query: Tensor, keys: Tensor, *row_tensors: Tensor, tile: int | None = None
) -> Tensor:
    """Sum of ``function(query, key_block, columns, *row_tensors)`` over blocks of keys, with gradient.

    For what is no log-sum-exp of dot products. In the backward pass each tile is computed again, so that
    nothing of size N x K is kept; the keys must not change before.

    Args:
        function: gets all queries, a (k, C) block of the keys, the slice of columns that it is, and
            ``row_tensors``; returns (N,), its sum over these columns.
        query: (N, C).
        keys: (K, C); the sum is 0 where K is 0.
        row_tensors: tensors with one row a query, which may need gradients.
        tile: keys in a block; by default what makes tiles of the usual size.
    """
    parts = _per_block(query, keys, function, row_tensors, tile)
    return sum(parts, full_precision(query).new_zeros(len(query)))


def tiled_logsumexp(
    function: TileFunction, query: Tensor, keys: Tensor, *row_tensors: Tensor, tile: int | None = None
) -> Tensor:
    """Log-sum-exp over all keys of (N, k) logits that a function as of :func:`tiled_row_sum` gives a block.

    A logit is -inf where a pair does not count; a row without any pair has -inf, with zero gradient.
    """
    parts = _per_block(query, keys, lambda *args: function(*args).logsumexp(1), row_tensors, tile)
    if not parts:
        return full_precision(query).new_full((len(query),), float('-inf'))
    return torch.stack(parts).logsumexp(0)  # not logaddexp, whose gradient at (-inf, -inf) is NaN


@no_autocast
def _per_block(query: Tensor, keys: Tensor, function, row_tensors, tile: int | None) -> list[Tensor]:
    query, keys = full_precision(query), full_precision(keys)
    options = dict(use_reentrant=False, preserve_rng_state=False)
    return [
        checkpoint(function, query, keys[columns], columns, *row_tensors, **options)
        for columns in key_blocks(len(query), keys, tile)
    ]
