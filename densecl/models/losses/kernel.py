"""What is computed from a similarity matrix tile by tile, so that the whole matrix is never in memory.

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

# Entries of a tile: on a CPU it should stay in the cache, on a GPU it should be worth its launches.
TILE = {'cpu': 2**20, 'cuda': 2**21}
# Rows of a tile. A mask is asked about all rows at once, the tile is then narrower.
ROWS = {'cpu': 1024, 'cuda': 2**14}
# Of a device's free memory a tile may take a 32nd, with what masks and exponentials make of its entries.
SHARE, BYTES_OF_ENTRY = 32, 16
# Free bytes of a CUDA device that fake tensors play: what a card of 24 GB may have left in a step.
PLAYED_FREE = 8 * 2**30
# Gathered keys above this size travel around the ring instead.
RING_ABOVE_BYTES = 64 * 2**20


def worth_a_ring(keys: Tensor) -> bool:
    """Whether these keys of each rank would be too large gathered."""
    return world_size() > 1 and keys.numel() * keys.element_size() * world_size() > RING_ABOVE_BYTES


def passing_blocks(keys: Tensor, ring: bool) -> Iterator[tuple[int, Tensor]]:
    """The number of its first column, and each block of keys that comes by, one's own first.

    The next block is on its way while the present one is used (the communication of Ring Attention, Liu et
    al., 2023): memory does not grow with the number of ranks. Without ``ring``, one's own alone.
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
    """Send a block to the next rank; what is returned waits for the previous rank's block."""
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
    """Free memory of a CUDA device, by counters that the host has: nothing waits."""
    if not torch.cuda.is_available():
        return PLAYED_FREE
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused  # torch's allocator keeps what it has once had


@cache
def most_entries(device: torch.device) -> int:
    """The largest tile for which a CUDA device has the memory; measured once, when first asked for.

    It is a power of two, so that a little more or less of free memory seldom changes the order of a sum.
    """
    return 2 ** max(0, (free_bytes(device) // (SHARE * BYTES_OF_ENTRY)).bit_length() - 1)


def key_blocks(rows: int, keys: Tensor, tile: int | None = None) -> Iterator[slice]:
    """Split the keys into blocks of ``tile``, or such that ``rows`` times a block makes a tile."""
    rows = max(1, rows)
    width = TILE.get(keys.device.type, TILE['cpu']) // rows
    if keys.is_cuda:  # of a large matrix larger tiles: fewer launches, and still little memory
        width = min(max(width, len(keys) // 32), most_entries(keys.device) // rows)
    width = tile or max(1, width)
    for start in range(0, len(keys), width):
        yield slice(start, min(start + width, len(keys)))


def logit_tiles(
    query: Tensor, keys: Tensor, keep: Keep | None, tile: int | None, first: int = 0
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows, columns and logits of each tile, -inf where ``keep`` says no; without gradient.

    All tiles share one buffer: use one up before asking for the next. ``keep`` is told that the columns are
    numbered from ``first`` on.
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
    """(N,) log-sum-exps and maxima of the logits; with ``mean`` the (N, C) softmax-weighted means of keys.

    The running maxima make it exact up to rounding (Milakov and Gimelshein, 2018).
    """
    # The least finite number, not -inf: in a row without any pair, -inf - top must not be NaN.
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
        means.div_(total.clamp(min=1))  # a row's maximum alone adds 1
    lse = top + total.log()
    return lse.squeeze(1), top.masked_fill_(total == 0, float('-inf')).squeeze(1), means


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
        ring: the keys of all ranks count, numbered in rank order; their blocks travel, in the
            backward pass each with its gradient. Shapes, and whether keys need one, are equal on all ranks.

    Returns:
        Two (N,) tensors; the maximum has no gradient. A row without any pair has -inf, and zero gradient.
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
                if ctx.ring:  # it goes on to the rank where its block goes, and is home at the end
                    grad_keys = pass_on(grad_keys)()
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
