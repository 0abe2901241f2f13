"""Which sets of units are compared with which."""

from collections.abc import Sequence
from typing import NamedTuple

from .units import Set


class Pair(NamedTuple):
    """A query set, a key set, the factor of their loss, and their name in the log."""

    query: Set
    key: Set
    weight: float
    name: str = ''


def parse_pairs(pairs: Sequence, kinds: tuple[str, ...]) -> list[Pair]:
    """Read the pairs of a config.

    Args:
        pairs: each is ``(query, key)`` or ``dict(query=, key=, weight=, name=)``. Query and key are the
            number of a view or, with several kinds of units, ``(kind, view)``. Without weights the loss is
            the mean over pairs. With weights it is their weighted sum, not divided by anything.
        kinds: the kinds of units; empty if there is only one.
    """
    parsed = []
    for pair in pairs:
        given = pair if isinstance(pair, dict) else {}
        if isinstance(pair, Sequence) and len(pair) == 2:
            given = dict(query=pair[0], key=pair[1])
        if not {'query', 'key'} <= set(given) <= {'query', 'key', 'weight', 'name'}:
            raise ValueError(
                f'pairs: an entry is (query, key) or dict(query=, key=, weight=, name=), got {pair!r}'
            )
        if 'loss' in given.get('name', ''):  # mmengine adds up every logged value whose name holds this word
            raise ValueError(f"pairs: name {given['name']!r} must not contain 'loss'; choose another name")
        sets = [_set(given[side], kinds) for side in ('query', 'key')]
        parsed.append(Pair(*sets, given.get('weight'), given.get('name', '')))
    weighted = {pair.weight is not None for pair in parsed}
    if len(weighted) != 1:
        raise ValueError(
            f'pairs: give every pair a weight, or none of them, and at least one pair; got {pairs!r}'
        )
    return parsed if weighted == {True} else [pair._replace(weight=1 / len(parsed)) for pair in parsed]


def crop_pairs(count: int) -> list[Pair]:
    """Each of ``count`` crops as query with each of the first two as key, but never itself (SwAV, DINO)."""
    if count < 2:
        raise ValueError(
            f"pairs='crops' needs at least 2 views, the pipeline makes {count}; add views to its MultiView"
        )
    return parse_pairs([(query, key) for query in range(count) for key in range(2) if query != key], ())


def _set(given, kinds: tuple[str, ...]) -> Set:
    kind, view = (None, given) if not kinds or isinstance(given, int | str) or len(given) != 2 else given
    if isinstance(view, int) and view >= 0 and kind in (kinds or (None,)):
        return view if kind is None else (kind, view)
    expected = f'(kind, view) with a kind of {kinds}' if kinds else 'the number of a view, from 0'
    raise ValueError(f'pairs: a set of these units is {expected}, got {given!r}')
