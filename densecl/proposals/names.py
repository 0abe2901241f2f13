"""Names of images, found by hash without a dict of strings."""

import hashlib
import os
from collections.abc import Iterable, Iterator

import numpy as np


def name_hash(name: bytes) -> int:
    """64 bits of a name, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), 'little')


class NameTable:
    """N different names, each with its position.

    Four arrays that may lie in a memory map, so that any number of processes share them: a million Python
    strings would be copied page by page into every forked worker.

    Attributes:
        hashes: uint64 (N,), ascending.
        positions: uint32 (N,), which name has that hash.
        ends: uint64 (N,), where each name ends in ``buffer``.
        buffer: uint8, all names one after the other.
    """

    def __init__(
        self, hashes: np.ndarray, positions: np.ndarray, ends: np.ndarray, buffer: np.ndarray
    ) -> None:
        self.hashes, self.positions, self.ends, self.buffer = hashes, positions, ends, buffer

    @classmethod
    def of(cls, names: Iterable[bytes]) -> 'NameTable':
        """Of names that are all different, in their order."""
        names = list(names)
        hashes = np.array([name_hash(name) for name in names], dtype='<u8')
        positions = np.argsort(hashes, kind='stable').astype('<u4')
        ends = np.cumsum([len(name) for name in names], dtype='<u8')
        return cls(hashes[positions], positions, ends, np.frombuffer(b''.join(names), np.uint8))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, position: int) -> str:
        return os.fsdecode(self._bytes(position))

    def __iter__(self) -> Iterator[str]:
        return (self[position] for position in range(len(self)))

    def _bytes(self, position: int) -> bytes:
        start = int(self.ends[position - 1]) if position else 0
        return self.buffer[start : int(self.ends[position])].tobytes()

    def find(self, name: str) -> int | None:
        """The position of a name, or None; names that share a hash are told apart."""
        wanted = os.fsencode(name)
        # a plain int would turn the whole array into floats
        key = np.uint64(name_hash(wanted))
        for place in range(int(np.searchsorted(self.hashes, key)), len(self.hashes)):
            if self.hashes[place] != key:
                return None
            position = int(self.positions[place])
            if self._bytes(position) == wanted:
                return position
        return None
