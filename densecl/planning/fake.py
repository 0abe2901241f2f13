"""Models and batches without data: only shapes, types and a device, which need not exist.

With torch's fake tensors an operation computes only the shape of its result. So a step of any size can be
counted on a small machine, and a CUDA device can be simulated. Operations that would make the host wait for
the device (``item``, boolean indexing, shapes that depend on data) raise an error at their line.
"""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from densecl.structures import Views


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
    by_view = {name: getattr(views, name) for name in ('boxes', 'flipped', 'answers')}  # (V, B, ...)
    by_view = {name: list(x) for name, x in by_view.items() if x is not None}
    # The photometric parameters are left out: they have been applied already.
    parts = replace(views, **by_view, photometric=[None] * len(views.images)).each_tensor(change)
    stacked = {name: torch.stack(getattr(parts, name)) for name in by_view}
    return replace(parts, **stacked, paths=views.paths * times)


def fake_views(mode: FakeTensorMode, views: Views, device: str = 'cpu', times: int = 1) -> Views:
    """A fake batch like a preprocessed batch of real images, but ``times`` as large."""
    return map_views(views, times, lambda tensor: fake_tensor(mode, tensor, device, times))
