"""One file of a proposal store: written once, then mapped into memory and never changed.

Layout, all numbers little-endian, every section from a multiple of 8 bytes on:

    magic "DCLPROPS"; uint32 version; uint32 CRC-32 of the rest of the header;
    uint64 bytes of the json; uint64 bytes of the file; json: settings, count, first and last image id,
        bytes of all names, CRC-32 of the index
    index: hashes uint64 (N,), positions uint32 (N,), ends of names uint64 (N,), names,
        ends of records uint64 (N,), CRC-32 of each record uint32 (N,)
    N records (see densecl.proposals.record), in the order of the names

The index comes first: of a file that was cut it still tells which images were behind the cut.
"""

import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from .errors import DamagedStoreError
from .names import NameTable

MAGIC, VERSION = b'DCLPROPS', 1
HEAD = struct.Struct('<8sIIQQ')


class StoreFile:
    """A file of a store, open for reading; the index is checked now, each record when it is read.

    Args:
        path: of the file.

    Attributes:
        settings: what the proposals were made with.
        names: the image ids.

    Raises:
        DamagedStoreError: not a store, cut short, or the index is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._data = np.memmap(self.path, np.uint8, 'r') if os.path.getsize(path) else np.zeros(0, np.uint8)
        self._header, header_end, size = self._read_header()
        self.settings, count = self._header['settings'], self._header['count']
        sections = layout(header_end, count, self._header['name_bytes'])
        index_end = sections['records'][0]
        if len(self._data) < index_end:
            self._refuse(f'is cut within its index, at byte {len(self._data)}', 0, count)
        start = sections['hashes'][0]
        if zlib.crc32(self._data[start:index_end]) != int(self._header['index_crc'], 16):
            self._refuse('has a damaged index', 0, count)
        get = {name: self._view(*section) for name, section in sections.items()}
        self.names = NameTable(get['hashes'], get['positions'], get['name_ends'], get['names'])
        self._ends, self._crcs, self._records = get['record_ends'], get['crcs'], index_end
        if len(self._data) != size:
            kept = int(np.searchsorted(self._ends, max(len(self._data) - index_end, 0), side='right'))
            self._refuse(f'has {len(self._data)} bytes instead of {size}', min(kept, count), count)

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> tuple:
        return StoreFile, (self.path,)  # another process maps the file itself

    def record(self, position: int) -> bytes:
        """The record of the image at this position of :attr:`names`.

        Raises:
            DamagedStoreError: it was changed since it was written.
        """
        record = self._record(position)
        if zlib.crc32(record) != int(self._crcs[position]):
            self._refuse('is damaged', position, position + 1)
        return record

    def verify(self) -> None:
        """Read everything.

        Raises:
            DamagedStoreError: records are damaged; names from the first to the last of them.
        """
        bad = [i for i in range(len(self)) if zlib.crc32(self._record(i)) != int(self._crcs[i])]
        if bad:
            self._refuse(f'has {len(bad)} damaged records', bad[0], bad[-1] + 1)

    def _record(self, position: int) -> bytes:
        start = int(self._ends[position - 1]) if position else 0
        return self._data[self._records + start : self._records + int(self._ends[position])].tobytes()

    def _read_header(self) -> tuple[dict, int, int]:
        """The json, the header's end, and the bytes that the file should have."""
        if len(self._data) < HEAD.size or self._data[:8].tobytes() != MAGIC:
            raise DamagedStoreError(
                f'{self.path} is not a proposal store, or is cut within its first {HEAD.size} bytes; '
                'all its images are lost'
            )
        _, version, crc, json_size, size = HEAD.unpack(self._data[: HEAD.size].tobytes())
        if version != VERSION:
            raise ValueError(f'{self.path} has version {version}, this densecl reads {VERSION}')
        text = self._data[HEAD.size : HEAD.size + json_size].tobytes()
        if zlib.crc32(struct.pack('<QQ', json_size, size) + text) != crc:
            raise DamagedStoreError(f'{self.path} has a damaged header; all its images are lost')
        return json.loads(text), HEAD.size + json_size, size

    def _view(self, start: int, stop: int, dtype: str) -> np.ndarray:
        return self._data[start:stop].view(dtype)

    def _refuse(self, what: str, start: int, stop: int) -> None:
        """Raise for the images from ``start`` to before ``stop``."""
        first, last = self._header['first'], self._header['last']
        if hasattr(self, '_records') and stop > start:
            first, last = self.names[start], self.names[stop - 1]
        raise DamagedStoreError(
            f'proposal store {self.path} {what}; lost are {stop - start} of its {self._header["count"]} '
            f'images, from {first!r} to {last!r}. Copy the file again, or remove it and make it anew'
        )


def layout(start: int, count: int, name_bytes: int) -> dict[str, tuple[int, int, str]]:
    """Section -> its first byte, the byte behind its last, and its type."""
    lengths = dict(
        hashes=(8 * count, '<u8'),
        positions=(4 * count, '<u4'),
        name_ends=(8 * count, '<u8'),
        names=(name_bytes, 'u1'),
        record_ends=(8 * count, '<u8'),
        crcs=(4 * count, '<u4'),
        records=(0, 'u1'),
    )
    sections, start = {}, padded(start)
    for name, (length, dtype) in lengths.items():
        sections[name] = start, start + length, dtype
        start = padded(start + length)
    return sections


def padded(size: int) -> int:
    """The next multiple of 8."""
    return -(-size // 8) * 8
