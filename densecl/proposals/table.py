"""Proposals of many images in memory, in three arrays instead of a million objects."""

import os
from collections.abc import Iterable, Iterator

import numpy as np

from densecl.structures import Proposals

from .names import NameTable
from .record import decode, encode


class ProposalTable:
    """A read-only mapping, name -> Proposals, that costs forked workers nothing.

    Args:
        items: names, all different, and their proposals; kept exactly.
    """

    def __init__(self, items: Iterable[tuple[str, Proposals]]) -> None:
        names, records = [], []
        for name, proposals in items:
            names.append(os.fsencode(name))
            records.append(encode(proposals, precision=0))
        self._names = NameTable.of(names)
        self._ends = np.cumsum([len(record) for record in records], dtype=np.int64)
        self._buffer = np.frombuffer(b''.join(records), np.uint8)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> Proposals:
        position = self._names.find(name)
        if position is None:
            raise KeyError(name)
        start = self._ends[position - 1] if position else 0
        return decode(self._buffer[start : self._ends[position]].tobytes())
