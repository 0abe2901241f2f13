"""Float32 or better for every objective, whatever the caller's autocast state."""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..tiled import full_precision


def unit(x: Tensor, dim: int = -1) -> Tensor:
    """L2-normalise along ``dim`` in at least float32; a zero vector stays zero."""
    return F.normalize(full_precision(x), dim=dim)


def no_autocast(function: Callable) -> Callable:
    """Decorator: run a loss outside autocast, on the device type of its first argument.

    Inside autocast a matrix product would round similarities to half precision even where its inputs
    are float32. The function itself upcasts its inputs, with :func:`unit` or :func:`full_precision`.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        first = args[0] if args else next(iter(kwargs.values()))
        tensor = first if isinstance(first, Tensor) else first[0]  # or a list of tensors
        with torch.autocast(tensor.device.type, enabled=False):
            return function(*args, **kwargs)

    return wrapper
