"""Renames the tensors of one project to those of another, by patterns or by the order of modules."""

import re
from collections.abc import Iterable

from torch import Tensor

Rules = tuple[tuple[str, str], ...]


def renamed(tensors: dict[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Apply all (pattern, replacement) rules in order to every name; names that become empty are dropped."""
    named = {_renamed(key, rules): value for key, value in tensors.items()}
    return {key: value for key, value in named.items() if key}


def _renamed(key: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def renamed_in_order(tensors: dict[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Give the modules of a file the names of a model whose modules have the same order.

    Args:
        tensors: the file's tensors, ordered by the numbers in their names, not by their order in the file.
        names: names of the model's tensors, in its order; it may have more modules at the end.
    """
    theirs = sorted({_module(key) for key in tensors}, key=_natural)
    ours = dict(zip(theirs, dict.fromkeys(map(_module, names)), strict=False))
    return {f'{ours[_module(k)]}.{_leaf(k)}': v for k, v in tensors.items() if _module(k) in ours}


def _module(key: str) -> str:
    return key.rpartition('.')[0]


def _leaf(key: str) -> str:
    return key.rpartition('.')[2]


def _natural(name: str) -> list:
    return [(int(part), '') if part.isdigit() else (-1, part) for part in name.split('.')]
