"""Sums over a similarity matrix, computed tile by tile: the whole matrix is never in memory.

With 65,536 negatives and 49 cells an image, it would be the largest tensor of the whole training step.
"""

from collections.abc import Callable, Iterator
from functools import cache

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from densecl.distributed import rank, world_size
from densecl.numerics import full_precision, no_autocast

TileFunction = Callable[..., Tensor]
Keep = Callable[[slice, Tensor], Tensor]

# Entries of a tile. On a CPU a tile should fit in the cache; on a GPU it should be large enough for a launch.
TILE = {'cpu': 2**20, 'cuda': 2**21}
# Rows of a tile. With a mask a tile has all rows, and is narrower.
ROWS = {'cpu': 1024, 'cuda': 2**14}
# A tile, with its mask and exponentials, may take 1/32 of a device's free memory.
SHARE, BYTES_OF_ENTRY = 32, 16
# Free bytes of a simulated CUDA device (fake tensors): what a card of 24 GB may have left in a step.
PLAYED_FREE = 8 * 2**30
# If the gathered keys would be larger than this, they are sent around a ring instead.
RING_ABOVE_BYTES = 64 * 2**20


def worth_a_ring(keys: Tensor) -> bool:
    """Whether the keys of all ranks together are so large that a ring is better than gathering them."""
    return world_size() > 1 and keys.numel() * keys.element_size() * world_size() > RING_ABOVE_BYTES


def passing_blocks(keys: Tensor, ring: bool) -> Iterator[tuple[int, Tensor]]:
    """Yield the keys of each rank as a block, with the number of its first column; this rank's keys first.

    The next block is received while the present one is used, as in Ring Attention (Liu et al., 2023). So
    memory does not grow with the number of ranks. Without ``ring``, only this rank's keys.
    """
    if not ring:
        yield 0, keys
        return
    world, block = world_size(), keys.contiguous()
    for step in range(world):
        arrived = pass_on(block) if step < world - 1 else None
        yield (rank() - step) % world * len(keys), block
        block = arrived() if arrived else block


def pass_on(block: Tensor) -> Callable[[], Tensor]:
    """Send a block to the next rank. The returned function waits for the previous rank's block."""
    after, before = (rank() + 1) % world_size(), (rank() - 1) % world_size()
    arriving = torch.empty_like(block)
    ways = [dist.P2POp(dist.isend, block, after), dist.P2POp(dist.irecv, arriving, before)]
    pending = dist.batch_isend_irecv(ways)

    def arrived() -> Tensor:
        for work in pending:
            work.wait()
        return arriving

    return arrived


def free_bytes(device: torch.device) -> int:
    """Free memory of a CUDA device in bytes, from counters on the host: nothing waits."""
    if not torch.cuda.is_available():
        return PLAYED_FREE
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused  # torch's allocator keeps memory that it freed


@cache
def most_entries(device: torch.device) -> int:
    """Entries of the largest tile that fits in a CUDA device's memory; measured once, at the first call.

    It is rounded down to a power of two. So small changes of the free memory rarely change the tiles, and
    with them the order of summation.
    """
    return 2 ** max(0, (free_bytes(device) // (SHARE * BYTES_OF_ENTRY)).bit_length() - 1)


def key_blocks(rows: int, keys: Tensor, tile: int | None = None) -> Iterator[slice]:
    """Split the keys into blocks of ``tile``; None: so that ``rows`` x block has the size of a tile."""
    rows = max(1, rows)
    width = TILE.get(keys.device.type, TILE['cpu']) // rows
    if keys.is_cuda:  # larger tiles for a large matrix: fewer launches, and still little memory
        width = min(max(width, len(keys) // 32), most_entries(keys.device) // rows)
    width = tile or max(1, width)
    for start in range(0, len(keys), width):
        yield slice(start, min(start + width, len(keys)))


def logit_tiles(
    query: Tensor, keys: Tensor, keep: Keep | None, tile: int | None, first: int = 0
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield rows, columns and logits of each tile; -inf where ``keep`` is false. Without gradient.

    All tiles share one buffer: the logits are valid only until the next tile. The columns given to ``keep``
    are numbered from ``first`` on.
    """
    height = len(query) if keep else min(len(query), ROWS.get(query.device.type, ROWS['cpu']))
    blocks = list(key_blocks(height, keys, tile))
    if not height or not blocks:
        return
    buffer = query.new_empty(height * blocks[0].stop)
    for row in range(0, len(query), height):
        rows = slice(row, min(row + height, len(query)))
        for columns in blocks:
            shape = rows.stop - row, columns.stop - columns.start
            logits = buffer[: shape[0] * shape[1]].view(shape)
            torch.mm(query[rows], keys[columns].T, out=logits)
            if keep is not None:
                kept = keep(slice(first + columns.start, first + columns.stop), logits)
                logits.masked_fill_(~kept, float('-inf'))
            yield rows, columns, logits


def online_softmax(
    query: Tensor, keys: Tensor, keep: Keep | None, tile: int | None, ring: bool, mean: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Log-sum-exps and maxima of the logits, (N,) each; with ``mean``, softmax-weighted means of keys (N, C).

    Running maxima make the result exact up to rounding (Milakov and Gimelshein, 2018).
    """
    # The lowest finite number, not -inf: for a row without pairs, -inf - top must not be NaN.
    top = query.new_full((len(query), 1), torch.finfo(query.dtype).min)
    total, means = torch.zeros_like(top), torch.zeros_like(query) if mean else None
    for first, block in passing_blocks(keys, ring):
        for rows, columns, logits in logit_tiles(query, block, keep, tile, first):
            new_top = torch.maximum(top[rows], logits.amax(1, keepdim=True))
            weights, shrink = logits.sub_(new_top).exp_(), (top[rows] - new_top).exp_()
            total[rows].mul_(shrink).add_(weights.sum(1, keepdim=True))
            if mean:
                means[rows].mul_(shrink).addmm_(weights, block[columns])
            top[rows] = new_top
    if mean:
        means.div_(total.clamp(min=1))  # total is at least 1, as the maximum adds 1, or 0 without pairs
    lse = top + total.log()
    return lse.squeeze(1), top.masked_fill_(total == 0, float('-inf')).squeeze(1), means


def similarity_logsumexp(
    query: Tensor, keys: Tensor, keep: Keep | None = None, tile: int | None = None, ring: bool = False
) -> tuple[Tensor, Tensor]:
    """``logsumexp_k(query_i . key_k)`` and ``max_k(query_i . key_k)``, tile by tile.

    Half-precision inputs are computed in float32 and get half-precision gradients; float64 stays float64. If
    ``keys`` need no gradient, they are not kept for the backward pass: a queue may be overwritten at once. If
    they need one, the backward pass computes every tile a second time.

    Args:
        query: (N, C), already divided by the temperature.
        keys: (K, C).
        keep: which pairs count. ``keep(columns, logits)`` gets a slice of the keys and their logits (N, k),
            without gradient, and returns bool (N, k). It must return the same in the backward pass. None: all
            pairs count.
        tile: number of keys in a tile; by default chosen for speed on the device.
        ring: the keys of all ranks count, numbered in rank order. Their blocks are sent around a ring, in the
            backward pass together with their gradients. All ranks must have keys of the same shape, and
            either all or none of them need a gradient.

    Returns:
        Two (N,) tensors; the maximum has no gradient. A row without pairs has -inf, and zero gradient.
    """
    ring = ring and world_size() > 1
    return _LogSumExp.apply(full_precision(query), full_precision(keys), keep, tile, ring)


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query: Tensor, keys: Tensor, keep, tile, ring):
        need_query, need_keys = ctx.needs_input_grad[:2]
        with torch.autocast(query.device.type, enabled=False):
            lse, top, mean = online_softmax(query, keys, keep, tile, ring, need_query)
        ctx.keep, ctx.tile, ctx.ring = keep, tile, ring
        ctx.save_for_backward(mean, *((query, keys, lse) if need_keys else (None, None, None)))
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
                if ctx.ring:  # the gradient follows its block, and is back at its own rank at the end
                    grad_keys = pass_on(grad_keys)()
        return grad_query, grad_keys, None, None, None


@torch.no_grad()
@no_autocast
def hardest_keys(
    query: Tensor, keys: Tensor, k: int, keep: Keep | None = None, tile: int | None = None
) -> tuple[Tensor, Tensor]:
    """The ``k`` most similar keys of each query, without gradient.

    Arguments are as in :func:`similarity_logsumexp`.

    Returns:
        (N, k) logits in descending order, and (N, k) indices of keys. If fewer than ``k`` pairs count, the
        remaining logits are -inf and their indices are arbitrary.

    Raises:
        ValueError: there are fewer than ``k`` keys.
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

    It is for functions other than the log-sum-exp of dot products. The backward pass computes each tile
    again, so nothing of size N x K is kept. The keys must not change before the backward pass.

    Args:
        function: gets all queries, a block (k, C) of the keys, its slice of columns, and ``row_tensors``.
            Returns (N,), the sum over these columns.
        query: (N, C).
        keys: (K, C); the sum is 0 if K is 0.
        row_tensors: tensors with one row a query; they may need gradients.
        tile: number of keys in a block; by default chosen as for other tiles.
    """
    parts = _per_block(query, keys, function, row_tensors, tile)
    return sum(parts, full_precision(query).new_zeros(len(query)))


def tiled_logsumexp(
    function: TileFunction, query: Tensor, keys: Tensor, *row_tensors: Tensor, tile: int | None = None
) -> Tensor:
    """Log-sum-exp over all keys of the logits that ``function`` returns, (N, k) for a block of keys.

    The arguments are as in :func:`tiled_row_sum`. A logit must be -inf if the pair does not count. A row
    without pairs has -inf, with zero gradient.
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
