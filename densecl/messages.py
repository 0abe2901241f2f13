"""Errors as one line for the user. It imports no other package, so that it works where one is missing."""

import traceback
from collections.abc import Iterable
from typing import Any


def check_choice(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    """Return ``value``; a ValueError, which calls it ``name``, if it is none of the ``allowed`` ones."""
    allowed = tuple(allowed)
    if value not in allowed:
        *most, last = map(repr, allowed)
        listed = f'{", ".join(most)} or {last}' if most else last
        raise ValueError(f'{name} must be {listed}, got {value!r}')
    return value


def message_of(error: BaseException) -> str:
    """The message of an error on one line: its first line and the last, which has the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, OSError) and error.strerror and error.filename:
        lines = [f'{error.filename}: {error.strerror}']
    elif isinstance(error, KeyError):
        lines = [str(error.args[0]) if error.args else '']
    if not lines:
        return f'{type(error).__name__} at "{_source_of(error)}"'
    if lines[0].startswith('Caught '):  # by a worker of a loader, with its traceback
        lines = [lines[-1].removeprefix(f'{type(error).__module__}.{type(error).__qualname__}: ')]
    text = ': '.join(dict.fromkeys((lines[0], lines[-1])))
    expected = isinstance(error, ValueError | OSError | RuntimeError | ImportError)
    return text if expected else f'{type(error).__name__}: {text}'


def _source_of(error: BaseException) -> str:
    """The line of code that raised an error without a message, an assertion mostly."""
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].line or '' if frames else ''
