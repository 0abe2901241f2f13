"""The few collective operations that pretraining needs; all of them do nothing in a single process.

``gather`` and ``all_reduce`` carry gradients: their backward passes add up what the losses of *all* ranks
have to say about this rank's input, so each rank gets the gradient of the sum of the ranks' losses. Data
parallel training then averages the parameters' gradients over the ranks, which makes it the gradient of the
*mean* of the ranks' losses. So two kinds of loss have exactly the gradient that one process with the whole
batch has:

- each rank averages over its own rows, compared with columns from all ranks;
- each rank computes the loss of the whole batch from gathered or summed tensors.

Gathering without gradient loses what the other ranks' losses say, and ``torch.distributed.all_reduce``,
unknown to autograd, scales gradients by 1/world: neither belongs into a loss.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def world_size() -> int:
    """Number of processes, 1 where torch.distributed is not initialised."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, 0 where torch.distributed is not initialised."""
    return dist.get_rank() if world_size() > 1 else 0


def local(x: Tensor) -> Tensor:
    """This process's part of a tensor that is spread over the processes (a DTensor); any other as it is."""
    return x.to_local() if is_spread(x) else x


def is_spread(x: Tensor) -> bool:
    """Whether a tensor is spread over the processes (a DTensor)."""
    return hasattr(x, 'to_local')


@torch.no_grad()
def tensor_norms(parts: list[Tensor], spread: bool) -> Tensor:
    """(T,) Euclidean norms, of half-precision tensors in float32; of whole tensors, where these are parts."""
    dtype = torch.promote_types(parts[0].dtype, torch.float32)
    norms = torch.stack(torch._foreach_norm(parts, 2, dtype=dtype))
    if not spread:
        return norms
    squares = norms.square()
    dist.all_reduce(squares)
    return squares.sqrt()


@torch.no_grad()
def all_gather(x: Tensor) -> Tensor:
    """Concatenate the (B, ...) tensors of all ranks to (world * B, ...), in rank order, without gradient.

    Every rank must pass the same shape; ``drop_last=True`` in the loader sees to that.
    """
    if world_size() == 1:
        return x
    x = x.contiguous()
    gathered = x.new_empty(world_size() * len(x), *x.shape[1:])
    dist.all_gather(list(gathered.chunk(world_size())), x)
    return gathered


@torch.no_grad()
def all_gather_together(tensors: list[Tensor]) -> list[Tensor]:
    """:func:`all_gather` of each of several (B, ...) tensors, in one collective a dtype."""
    if world_size() == 1:
        return tensors
    gathered = list(tensors)
    for dtype in dict.fromkeys(x.dtype for x in tensors):
        places = [i for i, x in enumerate(tensors) if x.dtype == dtype]
        rows = all_gather(torch.cat([tensors[i].flatten() for i in places])[None])
        for i, part in zip(places, rows.split([tensors[i].numel() for i in places], 1), strict=True):
            gathered[i] = part.reshape(world_size() * len(tensors[i]), *tensors[i].shape[1:])
    return gathered


@torch.no_grad()
def all_to_all(x: Tensor, sent: list[int], received: list[int]) -> Tensor:
    """Give each rank r its ``sent[r]`` of the rows of (N, ...), without gradient.

    ``received[r]`` rows come from rank r; the result is (sum of them, ...), in rank order. Memory that is
    channels-last stays so.
    """
    if world_size() == 1:
        return x
    if x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return all_to_all(x.permute(0, 2, 3, 1), sent, received).permute(0, 3, 1, 2)
    arrived = x.new_empty(sum(received), *x.shape[1:])
    dist.all_to_all_single(arrived, x.contiguous(), received, sent)
    return arrived


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return all_gather(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        rows = gradient.new_empty(len(gradient) // world_size(), *gradient.shape[1:])
        dist.reduce_scatter_tensor(rows, gradient.contiguous())
        return rows


class _AllReduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(x: Tensor) -> Tensor:
    x = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(x)
    return x


def gather(x: Tensor) -> Tensor:
    """Concatenate the (B, ...) tensors of all ranks to (world * B, ...), in rank order, with gradient.

    The backward pass adds up the gradients of all ranks and takes this rank's rows. Every rank must pass the
    same shape, and every rank's loss must depend on the result: the backward pass waits for all.
    """
    return x if world_size() == 1 else _Gather.apply(x)


def all_reduce(x: Tensor) -> Tensor:
    """Sum a tensor over the ranks, with gradient: the backward pass adds up the gradients of all ranks.

    Every rank must pass the same shape, and every rank's loss must depend on the result: the backward pass
    waits for all.
    """
    return x if world_size() == 1 else _AllReduce.apply(x)


def spread_like(x: Tensor, other: Tensor) -> Tensor:
    """This process's part of a tensor that every process has, spread as ``other`` is (by ``--shard``)."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(other, DTensor) or isinstance(x, DTensor) or x.shape != other.shape:
        return x
    x = x.to(device=other.device)
    return distribute_tensor(x, other.device_mesh, other.placements, src_data_rank=None)
