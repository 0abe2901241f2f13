"""Writes an ordinary config file that ``tools/train.py`` can run and a user can edit."""

import keyword
import math
import pprint
import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import densecl

_HEAD = '''"""Pretraining on {photos}, written by densecl {version}. Edit it as you like, and run it again:

python tools/train.py {path}

settings.json beside it has the reason of each value. Options of the command stand in
cfg_options at the end and are merged last, over everything else.
"""

_base_ = {base}

'''


class Source(str):
    """Source code that is written into a config unchanged."""


def in_docstring(text: Any) -> str:
    """Escape what would end a docstring or be read as an escape."""
    return str(text).replace('\\', '\\\\').replace('"', '\\"')


def config_text(photos: str, path: str, base: list[str], values: Mapping[str, Any]) -> str:
    """A config file as text.

    Args:
        photos: text about the photos for the config's docstring.
        path: path that the file will have.
        base: its base configs, such as ``densecl::densecl/...py``.
        values: top-level names and their values, in order; :class:`Source` is allowed anywhere in them.
    """
    head = _HEAD.format(
        photos=in_docstring(photos),
        version=densecl.__version__,
        path=in_docstring(shlex.quote(str(path))),
        base=source_of(base),
    )
    return head + ''.join(f'{name} = {source_of(value)}\n' for name, value in values.items())


def source_of(value: Any) -> str:
    """Source code of a value: ``dict(a=1)`` in one line if it fits."""
    if isinstance(value, Source):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if isinstance(value, PurePath):
        return repr(str(value))
    if isinstance(value, dict) and not all(_is_name(key) for key in value):
        return _joined('{', [f'{key!r}: {source_of(part)}' for key, part in value.items()], '}')
    if isinstance(value, dict):
        return _joined('dict(', [f'{key}={source_of(part)}' for key, part in value.items()], ')')
    if isinstance(value, list):
        return _joined('[', [source_of(part) for part in value], ']')
    return pprint.pformat(value, width=100)


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key)


def _joined(left: str, parts: list[str], right: str) -> str:
    line = left + ', '.join(parts) + right
    if len(line) <= 100 and '\n' not in line:
        return line
    inner = ',\n'.join(parts).replace('\n', '\n    ')
    return f'{left}\n    {inner},\n{right}'
