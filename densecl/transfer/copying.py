"""Which tensors of a file fit a model's, and copying them."""

import torch
from torch import Tensor

_COUNTER = 'num_batches_tracked'


def counted(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """All but batch counters, which converted files lack and which nothing depends on."""
    return {k: v for k, v in tensors.items() if not k.endswith(_COUNTER)}


def fitting(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> list[str]:
    """Names, batch counters aside, that both have with one shape."""
    return [k for k, v in counted(wanted).items() if k in given and given[k].shape == v.shape]


@torch.no_grad()
def copy(wanted: dict[str, Tensor], given: dict[str, Tensor], names: list[str]) -> None:
    """Copy these names, and the batch counters that both have."""
    counters = [k for k in given if k in wanted and k.endswith(_COUNTER)]
    for name in [*names, *counters]:
        wanted[name].copy_(given[name])
