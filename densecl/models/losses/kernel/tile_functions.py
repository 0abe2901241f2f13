"""Sums and log-sum-exps of any function of the similarities, tile by tile.

For what is no plain log-sum-exp of dot products: a nonlinearity of each pair, a weight that needs a gradient.
The caller writes a function of one tile; in the backward pass each tile is computed again (gradient
checkpointing), so that nothing of size N x K is kept. Keys must not change before the backward pass.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from densecl.numerics import full_precision

from .online_softmax import key_blocks

TileFunction = Callable[..., Tensor]


def tiled_row_sum(
    function: TileFunction,
    query: Tensor,
    keys: Tensor,
    *row_tensors: Tensor,
    tile: int | None = None,
) -> Tensor:
    """Sum of ``function(query, key_block, columns, *row_tensors)`` over blocks of keys, with gradient.

    Args:
        function: gets all queries, a (k, C) block of the keys, the slice of columns that it is, and
            ``row_tensors``; returns (N,), its sum over these columns.
        query: (N, C).
        keys: (K, C).
        row_tensors: tensors with one row a query, which may need gradients.
        tile: keys in a block; by default what makes tiles of the usual size.

    Returns:
        (N,) tensor; zeros where K is 0.
    """
    parts = _per_block(function, query, keys, row_tensors, tile)
    return sum(parts, full_precision(query).new_zeros(len(query)))


def tiled_logsumexp(
    function: TileFunction,
    query: Tensor,
    keys: Tensor,
    *row_tensors: Tensor,
    tile: int | None = None,
) -> Tensor:
    """Log-sum-exp over all keys of logits that a function gives block by block, with gradient.

    Args:
        function: as in :func:`tiled_row_sum`, but returns the (N, k) logits of the block; -inf where a pair
            does not count.
        query: (N, C).
        keys: (K, C).
        row_tensors: tensors with one row a query, which may need gradients.
        tile: keys in a block; by default what makes tiles of the usual size.

    Returns:
        (N,) tensor; -inf, with zero gradient, for a row without any pair.
    """

    def block_logsumexp(*args) -> Tensor:
        return function(*args).logsumexp(1)

    parts = _per_block(block_logsumexp, query, keys, row_tensors, tile)
    if not parts:
        return full_precision(query).new_full((len(query),), float('-inf'))
    return torch.stack(parts).logsumexp(0)  # not logaddexp, whose gradient at (-inf, -inf) is NaN


def _per_block(
    function: TileFunction, query: Tensor, keys: Tensor, row_tensors, tile: int | None
) -> list[Tensor]:
    query, keys = full_precision(query), full_precision(keys)
    options = dict(use_reentrant=False, preserve_rng_state=False)
    with torch.autocast(query.device.type, enabled=False):
        return [
            checkpoint(function, query, keys[columns], columns, *row_tensors, **options)
            for columns in key_blocks(len(query), keys, tile)
        ]
