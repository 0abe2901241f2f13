"""What pickles of numpy arrays may name, with stand-ins that take only what numpy itself writes.

The state of numpy's own dtype holds flags. With hostile ones numpy takes bytes of the file for pointers.
"""

import math
import pickle
from typing import Any

import numpy as np


class PlainType:
    """Stands in for ``numpy.dtype``: booleans and numbers, of either byte order, no other state."""

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in 'biufc':
            raise pickle.UnpicklingError(f'Unsupported global: GLOBAL numpy.dtype({code!r:.40})')

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class PlainArray(np.ndarray):
    """Stands in for ``numpy.ndarray``: empty until its state is set; pickled as numpy's."""

    def __new__(cls) -> 'PlainArray':
        """An array of no element, which is what pickles begin with."""
        return super().__new__(cls, (0,), 'b')

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, data = state
        size = math.prod(shape) * kind.dtype.itemsize
        if not isinstance(data, bytes) or min(shape, default=0) < 0 or size != len(data):
            raise pickle.UnpicklingError(f'an array of shape {shape!r:.40} of {len(data)} bytes')
        super().__setstate__((1, shape, kind.dtype, bool(fortran), data))

    def __reduce__(self) -> tuple:
        return self.view(np.ndarray).__reduce__()

    def __reduce_ex__(self, protocol: int) -> tuple:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def reconstruct(kind: type, shape: tuple, code: Any) -> PlainArray:
    """Stand in for numpy's ``_reconstruct``, which makes arrays of any size."""
    if kind is not PlainArray or shape != (0,):
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL numpy._reconstruct({kind}, {shape!r:.40})')
    return PlainArray()


def scalar(kind: PlainType, data: bytes) -> np.generic:
    """Stand in for numpy's ``scalar``."""
    return np.frombuffer(data, kind.dtype, 1)[0]


def from_buffer(data: bytes, kind: PlainType, shape: tuple, order: str) -> np.ndarray:
    """Stand in for numpy's ``_frombuffer``, of pickle's protocol 5."""
    return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


#: By the names of numpy 1 and 2.
NUMPY = {'numpy.dtype': PlainType, 'numpy.ndarray': PlainArray} | {
    f'{module}.{name}': stand_in
    for module in ('numpy.core', 'numpy._core')
    for name, stand_in in (
        ('multiarray._reconstruct', reconstruct),
        ('multiarray.scalar', scalar),
        ('numeric._frombuffer', from_buffer),
    )
}
