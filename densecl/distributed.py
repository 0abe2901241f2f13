"""The few collective operations that pretraining needs; all of them do nothing in a single process."""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes, 1 where torch.distributed is not initialised."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, 0 where torch.distributed is not initialised."""
    return dist.get_rank() if world_size() > 1 else 0


@torch.no_grad()
def all_gather(x: Tensor) -> Tensor:
    """Concatenate the (B, ...) tensors of all ranks to (world * B, ...), in rank order, without gradient.

    Every rank must pass the same shape; ``drop_last=True`` in the loader sees to that.
    """
    if world_size() == 1:
        return x
    x = x.contiguous()
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x)
    return torch.cat(parts)
