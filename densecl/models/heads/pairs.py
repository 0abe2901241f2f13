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
    """The pairs of a config.

    Args:
        pairs: ``(query, key)``, or ``dict(query=, key=, weight=, name=)``, where a set is the number of a
            view or, with several kinds of units, ``(kind, view)``. Without weights the loss is the mean over
            pairs; with weights it is their sum, and nothing is divided.
        kinds: of the units.

    Raises:
        ValueError: a pair has another form, or names a kind that there is not.
    """
    parsed = []
    for pair in pairs:
        given = _given(pair)
        unknown = set(given) - {'query', 'key', 'weight', 'name'}
        if unknown or not {'query', 'key'} <= set(given):
            raise ValueError(
                f'pairs: an entry is (query, key) or dict(query=, key=, weight=, name=), got {pair!r}'
            )
        sets = [_set(given[side], kinds) for side in ('query', 'key')]
        parsed.append(Pair(*sets, given.get('weight'), given.get('name', '')))
    weighted = {pair.weight is not None for pair in parsed}
    if len(weighted) != 1:
        raise ValueError(
            f'pairs: give every pair a weight, or none of them, and at least one pair; got {pairs!r}'
        )
    if weighted == {True}:
        return parsed
    return [pair._replace(weight=1 / len(parsed)) for pair in parsed]


def crop_pairs(count: int, answers: int = 2) -> list[Pair]:
    """Each of ``count`` crops of an image as a query of the first ``answers``, but for itself (SwAV, DINO).

    Raises:
        ValueError: there are fewer crops.
    """
    if count < answers:
        raise ValueError(
            f"pairs='crops' needs at least {answers} views, the pipeline makes {count}; add views to its "
            'MultiView'
        )
    pairs = [(query, key) for query in range(count) for key in range(answers) if query != key]
    return parse_pairs(pairs, ())


def _given(pair) -> dict:
    """The fields of an entry; none where it has no form of an entry."""
    if isinstance(pair, dict):
        return dict(pair)
    return dict(query=pair[0], key=pair[1]) if isinstance(pair, Sequence) and len(pair) == 2 else {}


def _set(given, kinds: tuple[str, ...]) -> Set:
    if not kinds and isinstance(given, int):
        return given
    if kinds and not isinstance(given, int) and len(given) == 2 and given[0] in kinds:
        return given[0], int(given[1])
    expected = f'(kind, view) with a kind of {kinds}' if kinds else 'the number of a view'
    raise ValueError(f'pairs: a set of these units is {expected}, got {given!r}')
