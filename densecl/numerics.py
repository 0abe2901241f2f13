"""Float32 or better for everything that is compared, and vectors of length 1."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

#: Shorter vectors get no gradient from :func:`unit`: what it passes on is at most 1e4 times what it is given.
SHORTEST = 1e-4
#: The same of float16 vectors, whose gradient times the loss scale must stay below 65,504.
SHORTEST_HALF = 1e-2


def full_precision(x: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 as they are."""
    return x if x.dtype == torch.float64 else x.float()


def shortest(x: Tensor) -> float:
    """The length below which a vector of this type is cut off from the gradient."""
    return SHORTEST_HALF if x.dtype == torch.float16 else SHORTEST


def unit(x: Tensor, dim: int = -1, eps: float = 1e-12) -> Tensor:
    """L2-normalise along ``dim`` in at least float32; a zero vector stays zero.

    The derivative of ``x / |x|`` grows as 1 / |x|: one dead cell, of length 1e-12, would ruin a step. Vectors
    shorter than ``SHORTEST``, in float16 ``SHORTEST_HALF``, are normalised too, but cut off from the
    gradient; those shorter than ``eps`` are divided by it.
    """
    limit = shortest(x)
    x = full_precision(x)
    if x.requires_grad:
        short = torch.linalg.vector_norm(x.detach(), dim=dim, keepdim=True) < limit
        x = torch.where(short, x.detach(), x)
    return torch.nn.functional.normalize(x, dim=dim, eps=eps)


def no_autocast(function: Callable) -> Callable:
    """Decorator: run a function outside autocast, on the device type of its first argument.

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


@no_autocast
def cosines(query: Tensor, key: Tensor | None = None) -> Tensor:
    """Cosines of all pairs, (..., N, C) and (..., M, C) -> (..., N, M); ``key`` None: of ``query`` itself."""
    query = unit(query)
    return query @ (query if key is None else unit(key)).mT
