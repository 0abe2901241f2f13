"""A setting and the reason for its value."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One decision of the rules.

    Attributes:
        name: name of the setting, such as ``'batch'``.
        value: data for JSON.
        reason: one sentence for the user, with the figures that led to the value.
    """

    name: str
    value: Any
    reason: str


def settings_table(settings: Iterable[Setting], width: int = 110) -> str:
    """Name, value and reason in three columns; long reasons continue in the next line."""
    rows = [(s.name, show_value(s.value), s.reason) for s in settings]
    first = max((len(row[0]) for row in rows), default=0)
    second = max((len(row[1]) for row in rows), default=0)
    room = max(width - first - second - 4, 30)
    lines = []
    for name, value, reason in rows:
        for number, part in enumerate(textwrap.wrap(reason, room) or ['']):
            left = (name, value) if number == 0 else ('', '')
            lines.append(f'{left[0]:<{first}}  {left[1]:<{second}}  {part}'.rstrip())
    return '\n'.join(lines)


def show_value(value: Any) -> str:
    """A value as a table shows it: ``0.4 to 1``, ``none``, ``1,024``."""
    if value is None or value is False:
        return 'none'
    if isinstance(value, (list, tuple)):
        return ' to '.join(show_value(part) for part in value)
    if isinstance(value, int) and value is not True:
        return f'{value:,}'
    return f'{value:.3g}' if isinstance(value, float) and value < 0.99 else str(value)
