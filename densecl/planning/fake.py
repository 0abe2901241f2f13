"""Models and batches without data: shapes, types and a device that need not be there.

Under torch's fake tensors an operation computes the shape of its result and nothing else. So a step of any
size can be counted on a small machine, a CUDA device can be played where none is, and what would make the
host wait for the device (``item``, boolean indexing, shapes that depend on data) raises an error at its line.
"""

import copy
from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.structures import ViewRegions, Views


def fake_tensor(mode: FakeTensorMode, tensor: Tensor, device: str = 'cpu', times: int = 1) -> Tensor:
    """A fake tensor like another, its first axis ``times`` as long, that says it is on ``device``."""
    fake = mode.from_tensor(tensor)
    with mode:
        if times > 1:
            fake = fake.repeat(times, *[1] * (tensor.ndim - 1))
        return fake.to(device)


def fake_copy(mode: FakeTensorMode, module: nn.Module, device: str = 'cpu') -> nn.Module:
    """A copy of a module whose parameters and buffers are fake; what it shares stays shared."""
    copies: dict[int, Tensor] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        found = fake_tensor(mode, tensor.detach(), device)
        if isinstance(tensor, nn.Parameter):
            found = nn.Parameter(found, tensor.requires_grad)
        copies[id(tensor)] = found
    return copy.deepcopy(module, copies)


def map_views(views: Views, times: int, change: Callable[[Tensor], Tensor]) -> Views:
    """A preprocessed batch with every tensor changed and every path ``times`` over."""

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
    # The parameters of colours stay on the CPU, and have been applied.
    return Views(**found, paths=views.paths * times, photometric=[None] * len(views.images))


def fake_views(mode: FakeTensorMode, views: Views, device: str = 'cpu', times: int = 1) -> Views:
    """A preprocessed batch of real images as one ``times`` as large."""
    return map_views(views, times, lambda tensor: fake_tensor(mode, tensor, device, times))
