"""What a mean is divided by: the one place of denominators."""

import torch
from torch import Tensor

from densecl.distributed import all_reduce, world_size

#: How a mean may be taken, see :func:`mean_of`.
MEANS = ('rows', 'counted', 'images')


def check_mean(how: str, objective: str, allowed: tuple[str, ...] = MEANS) -> str:
    """``how``, or a ValueError where it is not allowed."""
    if how not in allowed:
        raise ValueError(f'{objective}: mean must be one of {", ".join(map(repr, allowed))}; got {how!r}')
    return how


def mean_of(terms: Tensor, counted: Tensor | None, how: str) -> Tensor:
    """The mean of what units say, each way exact over processes with equal batches.

    The mean of what the processes return, and of its gradients, is that of one process with all images,
    however unevenly the units that count are spread.

    Args:
        terms: (B, N), N units of each of B images.
        counted: (B, N) bool, the units that count; None: all. The terms of others may be anything.
        how: ``'rows'``: over all units of this process, where those that do not count add 0;
            ``'counted'``: over the units of all processes that count, 0 where there is none;
            ``'images'``: over the units of each image that count, then over images, of which one without such
            a unit adds 0.
    """
    if counted is None:
        counted = torch.ones_like(terms, dtype=torch.bool)
    terms = torch.where(counted, terms, 0.0)
    if how == 'rows':
        return terms.mean()
    if how == 'images':
        return (terms.sum(1) / counted.sum(1).clamp(min=1)).mean()
    count = all_reduce(counted.sum().to(terms.dtype))
    return terms.sum() * world_size() / count.clamp(min=1)


def own_mean(values: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of this process's values that count (None: all), for the log; 0 where none does."""
    if counted is None:
        return values.mean()
    return torch.where(counted, values, 0.0).sum() / counted.sum().clamp(min=1)
