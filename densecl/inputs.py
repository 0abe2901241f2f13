"""Files of strangers, of which nothing is taken at its word."""

import ast
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

#: Scopes whose registered classes a ``type`` may name; the classes of these packages are harmless.
_SCOPES = ('densecl', 'mmdet', 'mmpretrain', 'mmseg', 'mmselfsup')


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


def parse_config(text: Any, paths: bool = False) -> dict[str, Any]:
    """Top-level names and values of what ``mmengine.Config.pretty_text`` wrote; {} for anything else.

    It is Python source, of which nothing is run: only literals and ``dict(...)`` calls are read, any other
    value becomes None. A ``type`` such as ``subprocess.Popen`` becomes None too, as mmengine's registries
    import and call an unknown type by its path.

    Args:
        text: the source.
        paths: keep such types, for a reader who builds nothing.
    """
    try:
        body = ast.parse(text if isinstance(text, str) else '').body
        named = [n for n in body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
        return {node.targets[0].id: _value(node.value, paths) for node in named}
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # ValueError: a zero byte
        return {}


def _value(node: ast.expr, paths: bool) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        merged = {}
        for argument in node.args:
            value = _value(argument, paths)
            merged.update(value if isinstance(value, dict) else {})
        merged.update({k.arg: _value(k.value, paths) for k in node.keywords if k.arg})
        return merged if paths else _without_paths(merged)
    if isinstance(node, ast.Dict):
        pairs = [(_value(k, paths), v) for k, v in zip(node.keys, node.values, strict=True) if k is not None]
        found = {key: _value(v, paths) for key, v in pairs if isinstance(key, str | int | float)}
        return found if paths else _without_paths(found)
    if isinstance(node, ast.List | ast.Tuple):
        kind = list if isinstance(node, ast.List) else tuple
        return kind(_value(part, paths) for part in node.elts)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def _without_paths(config: dict) -> dict:
    """The same config, with None for each ``type`` that is a path to import."""
    scope = str(config.get('type')).rpartition('.')[0]
    return config | {'type': None} if scope and scope not in _SCOPES else config
