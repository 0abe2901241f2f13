"""Keys of all ranks without gathering them: blocks of keys travel around a ring of processes.

Each rank holds its own keys and one block in passing, so memory does not grow with the number of ranks (the
communication of Ring Attention, Liu et al., 2023).
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from densecl.distributed import rank, world_size

# Gathered keys above this size travel around the ring instead.
RING_ABOVE_BYTES = 64 * 2**20


def worth_a_ring(keys: Tensor) -> bool:
    """Whether these keys of each rank would be too large gathered."""
    return world_size() > 1 and keys.numel() * keys.element_size() * world_size() > RING_ABOVE_BYTES


def passing_blocks(keys: Tensor, ring: bool) -> Iterator[tuple[int, Tensor]]:
    """The number of its first column, and each block of keys that comes by, one's own first.

    The next block is on its way while the present one is used. Without ``ring``, one's own alone.
    """
    if not ring:
        yield 0, keys
        return
    world, block = world_size(), keys.contiguous()
    for step in range(world):
        arriving = Passage(block) if step < world - 1 else None
        yield (rank() - step) % world * len(keys), block
        block = arriving.wait() if arriving else block


class Passage:
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
