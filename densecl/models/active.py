"""Batch norm that counts only some rows or cells of a batch.

Selecting these positions by an index would make shapes depend on the data, and the host would wait for the
device. So all positions are computed here, but statistics use only the active ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from densecl.distributed import world_size
from densecl.numerics import full_precision

_KNOWN = (_BatchNorm.forward, nn.SyncBatchNorm.forward)


@contextmanager
def only_active(module: nn.Module, active: Tensor) -> Iterator[None]:
    """Inside this context, batch norm in ``module`` counts only active positions, and is 0 at the others.

    For active positions, output, gradient and running statistics are as if the layer got only these. In a
    ``SyncBatchNorm`` the statistics are over all its processes; each may have any number of active positions,
    or none. A single active position has variance 0. With fewer than two active positions, running statistics
    do not change. In eval mode a layer uses its running statistics. Other layers get all positions. Names in
    the state dict do not change. The forward passes must be inside the context. Blocks that are recomputed in
    the backward pass raise torch's ``CheckpointError``.

    Args:
        module: a module with BatchNorm1d, BatchNorm2d or SyncBatchNorm layers.
        active: bool, (N,) for rows (N, C), or (B, h, w) for cells of (B, C, H, W). H and W must be multiples
            of h and w. So one mask serves all levels of a backbone (SparK, Tian et al., 2023).

    Raises:
        ValueError: a layer has another kind of statistics, or the mask does not fit its input.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        if type(layer).forward not in _KNOWN:
            raise ValueError(
                f'only_active: {type(layer).__name__} takes its statistics in its own way; take BatchNorm1d, '
                'BatchNorm2d or SyncBatchNorm'
            )
    try:
        for layer in layers:
            layer.forward = partial(_forward, layer, active)
        yield
    finally:
        for layer in layers:
            vars(layer).pop('forward', None)


def active_like(active: Tensor, x: Tensor) -> Tensor:
    """Expand a mask to ``x``: (N,) -> (N, 1) for (N, C); (B, h, w) -> (B, 1, H, W) for (B, C, H, W)."""
    sizes = x.shape[:1] + x.shape[2:]
    fits = active.ndim == len(sizes) and active.shape[0] == sizes[0]
    if not fits or any(size % part for size, part in zip(sizes, active.shape, strict=True)):
        raise ValueError(
            f'only_active: a mask of shape {tuple(active.shape)} does not fit an input of shape '
            f'{tuple(x.shape)}; expected {tuple(sizes)}, or cells that divide it'
        )
    for dim, size in enumerate(sizes):
        if size != active.shape[dim]:
            active = active.repeat_interleave(size // active.shape[dim], dim)
    return active.unsqueeze(1)


def _forward(layer: _BatchNorm, active: Tensor, x: Tensor) -> Tensor:
    """Replaces a layer's own ``forward``."""
    layer._check_input_dim(x)
    active = active_like(active, x)
    if not layer.training and layer.running_mean is not None:
        return torch.where(active, type(layer).forward(layer, x), 0.0)
    group = None
    if isinstance(layer, nn.SyncBatchNorm) and layer.training and world_size() > 1:
        group = layer.process_group or dist.group.WORLD
    count, mean, variance = _statistics(x, active, group)
    if layer.training and layer.track_running_stats:
        _track(layer, count, mean, variance)
    scale = (variance + layer.eps).rsqrt()
    return _Normalise.apply(x, layer.weight, layer.bias, active, count, mean, scale, group)


@torch.no_grad()
def _statistics(x: Tensor, active: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, ...]:
    """Number of active positions (1,), mean (C,) and biased variance (C,), over all processes of a group.

    The mean is computed first, then the deviations from it. Results of processes are merged by the formula of
    Chan et al. (1979), which uses each process's own mean.
    """
    x = full_precision(x)
    count = active.sum().to(x.dtype).view(1)
    mean = _sum(torch.where(active, x, 0.0)) / count.clamp(min=1)
    squares = _sum(torch.where(active, x - _of_channels(mean, x), 0.0).square())
    if group is not None:
        mine = torch.cat([count, mean, squares])
        each = mine.new_empty(dist.get_world_size(group), len(mine))
        dist.all_gather(list(each.unbind()), mine, group=group)
        counts, means, parts = each.split([1, len(mean), len(mean)], dim=1)
        count = counts.sum(0)
        mean = (counts * means).sum(0) / count.clamp(min=1)
        squares = (parts + counts * (means - mean).square()).sum(0)
    return count, mean, squares / count.clamp(min=1)


@torch.no_grad()
def _track(layer: _BatchNorm, count: Tensor, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics, with the unbiased variance."""
    several, dtype = count[0] > 1, layer.running_mean.dtype
    layer.num_batches_tracked.add_(several)
    momentum = layer.momentum
    if momentum is None:
        momentum = layer.num_batches_tracked.clamp(min=1).to(dtype).reciprocal()
    share = several.to(dtype) * momentum
    layer.running_mean.lerp_(mean.to(dtype), share)
    layer.running_var.lerp_((variance * (count / (count - 1).clamp(min=1))).to(dtype), share)


class _Normalise(torch.autograd.Function):
    """Normalisation that saves no tensor of its input's size but the input, as torch's own layer."""

    @staticmethod
    def forward(ctx, x, weight, bias, active, count, mean, scale, group):
        ctx.save_for_backward(x, weight, active, count, mean, scale)
        ctx.group = group
        y = _normal(x, mean, scale)
        if weight is not None:
            y = y * _of_channels(weight, y)
        if bias is not None:
            y = y + _of_channels(bias, y)
        return torch.where(active, y, 0.0).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight, active, count, mean, scale = ctx.saved_tensors
        normal = torch.where(active, _normal(x, mean, scale), 0.0)
        gradient = torch.where(active, full_precision(gradient), 0.0)
        of_bias, of_weight = _sum(gradient), _sum(gradient * normal)
        sums = torch.stack([of_bias, of_weight])
        if ctx.group is not None:
            dist.all_reduce(sums, group=ctx.group)
        shift, slope = (_of_channels(s, x) for s in sums / count.clamp(min=1))
        scale = scale if weight is None else scale * weight
        change = (gradient - shift - normal * slope) * _of_channels(scale, x)
        change = torch.where(active, change, 0.0).to(x.dtype)
        needs = ctx.needs_input_grad
        parts = of_weight if needs[1] else None, of_bias if needs[2] else None
        return change, *parts, None, None, None, None, None


def _normal(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return (full_precision(x) - _of_channels(mean, x)) * _of_channels(scale, x)


def _sum(x: Tensor) -> Tensor:
    """Sum over all dimensions except the channels, (B, C, ...) -> (C,)."""
    return x.sum([dim for dim in range(x.ndim) if dim != 1])


def _of_channels(values: Tensor, x: Tensor) -> Tensor:
    """View (C,) so that it broadcasts with (B, C, ...)."""
    return values.view(-1, *[1] * (x.ndim - 2))
