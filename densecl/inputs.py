"""Files of strangers, of which nothing is taken at its word."""

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np


def read_json(path: str | Path, what: str = 'json', nan: bool = False) -> Any:
    """What a json file holds.

    Args:
        path: the file.
        what: was expected, for the message.
        nan: take NaN and Infinity for numbers, which json does not have and some programs write; whoever
            reads a field checks it.

    Raises:
        ValueError: it is no json in UTF-8, is nested too deeply, or has NaN or Infinity without ``nan``.
        OSError: it cannot be opened.
    """
    return json_of(Path(path).read_bytes(), path, what, nan)


def json_of(data: bytes | str, name: Any, what: str = 'json', nan: bool = False) -> Any:
    """What json text holds; arguments and errors as of :func:`read_json`."""
    try:
        return json.loads(data, parse_constant=None if nan else _refuse_constant)
    except RecursionError:
        raise ValueError(f'{name} is nested too deeply to be read; expected {what}') from None
    except ValueError as error:  # json's and UTF-8's
        raise ValueError(f'{name} is not json: {error}; expected {what}') from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is no number of json')


def npy_from_bytes(data: bytes) -> np.ndarray:
    """The array of an ``.npy`` file, read-only, without a copy; it cannot be larger than the bytes.

    Raises:
        ValueError: it is none, is cut off, or holds objects.
    """
    file = io.BytesIO(data)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in read:
        raise ValueError(f'npy files of version {version} are not read')
    try:
        shape, fortran, dtype = read[version](file)
    except Exception as error:  # a header is Python's text of a dict, whose parser has errors of its own
        raise ValueError(f'the header of the npy file is damaged: {" ".join(str(error).split())}') from error
    if dtype.hasobject:
        raise ValueError('an npy file of Python objects, which could run code, is not read')
    count, held = math.prod(shape), len(data) - file.tell()
    if min(shape, default=0) < 0 or count * dtype.itemsize > held:
        raise ValueError(f'an npy file of shape {shape} ({dtype}) is cut off: it holds {held} bytes of these')
    return np.frombuffer(data, dtype, count, file.tell()).reshape(shape, order='F' if fortran else 'C')
