"""Models and batches without data: only shapes, types and a device, which need not exist.

With torch's fake tensors an operation computes only the shape of its result. So a step of any size can be
counted on a small machine, and a CUDA device can be simulated. Operations that would make the host wait for
the device (``item``, boolean indexing, shapes that depend on data) raise an error at their line.
"""

import copy
from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.structures import ViewRegions, Views


def fake_tensor(mode: FakeTensorMode, tensor: Tensor, device: str = 'cpu', times: int = 1) -> Tensor:
    """A fake tensor like ``tensor`` on ``device``, with a first axis ``times`` as long."""
    fake = mode.from_tensor(tensor)
    with mode:
        if times > 1:
            fake = fake.repeat(times, *[1] * (tensor.ndim - 1))
        return fake.to(device)


def fake_copy(mode: FakeTensorMode, module: nn.Module, device: str = 'cpu') -> nn.Module:
    """A copy of a module with fake parameters and buffers; shared tensors stay shared."""
    copies: dict[int, Tensor] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        found = fake_tensor(mode, tensor.detach(), device)
        if isinstance(tensor, nn.Parameter):
            found = nn.Parameter(found, tensor.requires_grad)
        copies[id(tensor)] = found
    return copy.deepcopy(module, copies)


def map_views(views: Views, times: int, change: Callable[[Tensor], Tensor]) -> Views:
    """A preprocessed batch with ``change`` applied to every tensor, and every path repeated ``times``."""

    def changed(value):
        if isinstance(value, Tensor):
            return change(value)
        if isinstance(value, list):
            return [changed(x) for x in value]
        if isinstance(value, dict):
            return {name: changed(x) for name, x in value.items()}
        if isinstance(value, ViewRegions):
            return ViewRegions(*(changed(getattr(value, field.name)) for field in fields(value)))
        return value

    left_out = ('paths', 'photometric', 'boxes', 'flipped')
    found = {name: changed(x) for name, x in vars(views).items() if name not in left_out}
    for name in ('boxes', 'flipped'):  # (V, B, ...)
        found[name] = torch.stack([change(x) for x in getattr(views, name)])
    # The photometric parameters stay on the CPU; they have been applied already.
    return Views(**found, paths=views.paths * times, photometric=[None] * len(views.images))


def fake_views(mode: FakeTensorMode, views: Views, device: str = 'cpu', times: int = 1) -> Views:
    """A fake batch like a preprocessed batch of real images, but ``times`` as large."""
    return map_views(views, times, lambda tensor: fake_tensor(mode, tensor, device, times))
