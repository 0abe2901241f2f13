"""Negatives of all ranks without gathering them: blocks of keys travel around a ring of processes.

Each rank holds its own keys and one block in passing, so memory does not grow with the number of ranks. In
the backward pass the blocks travel once more, each together with its gradient, which every rank adds to and
which is complete when it is home (the communication of Ring Attention, Liu et al., 2023).
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from densecl.distributed import gather, rank, world_size

from .online_softmax import Keep, OnlineSoftmax, full_precision, key_gradient
from .tiled import similarity_logsumexp

# Gathered keys above this size travel around the ring instead.
RING_ABOVE_BYTES = 64 * 2**20


def worth_a_ring(keys: Tensor) -> bool:
    """Whether these keys of each rank would be too large gathered."""
    size = keys.numel() * keys.element_size() * world_size()
    return world_size() > 1 and size > RING_ABOVE_BYTES


def all_ranks_logsumexp(
    query: Tensor, keys: Tensor, keep: Keep | None = None
) -> tuple[Tensor, Tensor]:
    """:func:`.similarity_logsumexp` against the keys of all ranks, gathered or around the ring by their size.

    Args:
        query: (N, C) of this rank, already divided by the temperature.
        keys: (K, C) of this rank, the same shape on every rank.
        keep: which pairs count; its columns number the keys of all ranks, in rank order.

    Returns:
        Two (N,) tensors: the log-sum-exp, whose gradient reaches the keys of all ranks; and the maximum.
    """
    if worth_a_ring(keys):
        return ring_logsumexp(query, keys, keep)
    return similarity_logsumexp(query, gather(keys), keep)


def ring_logsumexp(
    query: Tensor, keys: Tensor, keep: Keep | None = None, tile: int | None = None
) -> tuple[Tensor, Tensor]:
    """``similarity_logsumexp(query, gather(keys), keep)`` with one foreign block of keys in memory at a time.

    Every rank must pass keys of the same shape, and either all ranks' keys need a gradient or none do.

    Args:
        query: (N, C) of this rank, already divided by the temperature.
        keys: (K, C) of this rank.
        keep: which pairs count; its columns number the keys of all ranks, in rank order.
        tile: keys in a tile.

    Returns:
        Two (N,) tensors: the log-sum-exp, whose gradient reaches the keys of all ranks; and the maximum.
    """
    if world_size() == 1:
        return similarity_logsumexp(query, keys, keep, tile)
    return _RingLogSumExp.apply(full_precision(query), full_precision(keys), keep, tile)


class _RingLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query: Tensor, keys: Tensor, keep, tile):
        need_query, need_keys = ctx.needs_input_grad[:2]
        with torch.autocast(query.device.type, enabled=False):
            state = OnlineSoftmax(query, need_query)
            block = keys.contiguous()
            for first, last in _stations(len(keys)):
                arriving = None if last else _Passage(block)
                state.add(block, keep, tile, first)
                block = block if last else arriving.wait()
            lse, top = state.finish()
        ctx.keep, ctx.tile = keep, tile
        ctx.save_for_backward(
            state.mean if need_query else None,
            *((query, keys, lse) if need_keys else (None, None, None)),
        )
        ctx.mark_non_differentiable(top)
        return lse, top

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, _):
        mean, query, keys, lse = ctx.saved_tensors
        grad_query = mean * gradient[:, None] if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return grad_query, None, None, None
        with torch.autocast(query.device.type, enabled=False):
            block, grad_block = keys.contiguous(), torch.zeros_like(keys).contiguous()
            for first, last in _stations(len(keys)):
                arriving = None if last else _Passage(block)
                grad_block += key_gradient(query, block, lse, gradient, ctx.keep, ctx.tile, first)
                block = block if last else arriving.wait()
                grad_block = _Passage(grad_block).wait()
        return grad_query, grad_block, None, None


def _stations(keys: int) -> list[tuple[int, bool]]:
    """For each block that comes by: the number of its first column, and whether it is the last."""
    world = world_size()
    return [((rank() - step) % world * keys, step == world - 1) for step in range(world)]


class _Passage:
    """Send a block to the next rank while the previous rank's block arrives."""

    def __init__(self, block: Tensor) -> None:
        after, before = (rank() + 1) % world_size(), (rank() - 1) % world_size()
        self.arriving = torch.empty_like(block)
        self.pending = dist.batch_isend_irecv(
            [dist.P2POp(dist.isend, block, after), dist.P2POp(dist.irecv, self.arriving, before)]
        )

    def wait(self) -> Tensor:
        """The block that arrived."""
        for work in self.pending:
            work.wait()
        return self.arriving
