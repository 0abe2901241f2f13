"""Writing a file of a proposal store, over any number of interruptions."""

import glob
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from densecl.files import atomic_write
from densecl.structures import Proposals

from .log import Log, as_json
from .names import NameTable
from .record import PRECISION, encode
from .store_file import HEAD, MAGIC, VERSION, StoreFile, layout, padded


class ProposalWriter:
    """Adds images to one file of a proposal store.

    ``with ProposalStore.write('a.props') as writer: writer['photo.jpg'] = proposals``. Every record is
    appended at once to a log, ``a.props.log``. At the end of the block the file is written whole under a
    temporary name and renamed, and the log removed. A block that is left by an exception, or a process
    that is killed, leaves the log: the next writer of the same path goes on from there.

    Args:
        path: of the file.
        settings: what the proposals are made with; json. The same for all images of a store.
        precision: of the boxes in pixels, see :func:`densecl.proposals.record.encode`.
        append: add to a finished file; otherwise it is an error that there is one.

    Raises:
        FileExistsError: the file is finished already and ``append`` is false.
        ValueError: the file, or the log left behind, was made with other settings.
        BlockingIOError: another process is writing this file.
    """

    def __init__(
        self,
        path: str | Path,
        settings: dict | None = None,
        precision: float = PRECISION,
        append: bool = False,
    ) -> None:
        self.path, self.precision = Path(path), precision
        self.settings = {'provider': None, **(settings or {}), 'precision': precision}
        if self.path.exists() and not append:
            raise FileExistsError(f'{path} exists; append=True adds to it')
        self._log = Log(log_path(self.path), self.settings)
        try:
            self._old = StoreFile(self.path) if self.path.exists() else None
            if self._old is not None and as_json(self._old.settings) != as_json(self.settings):
                raise ValueError(
                    f'{path} holds proposals made with other settings.\n  there: '
                    f'{as_json(self._old.settings)}\n  now:   {as_json(self.settings)}'
                )
        except BaseException:
            self._leave()
            raise

    def __enter__(self) -> 'ProposalWriter':
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.finish()
        else:
            self._leave()

    def __contains__(self, image_id: str) -> bool:
        known = self._old is not None and self._old.names.find(image_id) is not None
        return known or os.fsencode(image_id) in self._log.entries

    def __len__(self) -> int:
        return len(self._names())

    def __setitem__(self, image_id: str, proposals: Proposals) -> None:
        self.add_record(image_id, encode(proposals, self.precision))

    def add_record(self, image_id: str, record: bytes) -> None:
        """Add what :func:`densecl.proposals.record.encode` made of an image's proposals.

        Raises:
            ValueError: the image is there already.
        """
        if image_id in self:
            raise ValueError(f'{self.path} has proposals of {image_id!r} already')
        self._log.append(os.fsencode(image_id), record)

    def finish(self) -> None:
        """Put everything into the file and close; the log goes."""
        # of processes that were killed while they wrote the file; no other one has the lock now
        for stale in self.path.parent.glob(f'.{glob.escape(self.path.name)}.{"?" * 8}.tmp'):
            stale.unlink()
        if self._log.entries or self._old is None:
            write_store_file(self.path, self.settings, self._names(), self._read)
        self._log.path.unlink()
        self._log.close()

    def _leave(self) -> None:
        if not self._log.entries:  # nothing to go on from
            self._log.path.unlink()
        self._log.close()

    def _names(self) -> list[bytes]:
        # a process killed before it removed its log leaves images in both
        old = () if self._old is None else self._old.names
        return list({os.fsencode(name) for name in old} | self._log.entries.keys())

    def _read(self, name: bytes) -> bytes:
        if name in self._log.entries:
            return self._log.read(name)
        return self._old.record(self._old.names.find(os.fsdecode(name)))


def log_path(path: Path) -> Path:
    """Where the images of a file are gathered until it is finished."""
    return path.with_name(path.name + '.log')


def write_store_file(
    path: str | Path, settings: dict, names: list[bytes], read: Callable[[bytes], bytes]
) -> None:
    """Write a store file, which appears only when it is complete.

    Args:
        path: of the file.
        settings: what the proposals were made with; json.
        names: the image ids, all different, in any order: the file is the same.
        read: gives the record of a name; called for one after the other.
    """
    names = sorted(names)
    table = NameTable.of(names)
    header = dict(
        settings=settings,
        count=len(names),
        first=os.fsdecode(names[0]) if names else None,
        last=os.fsdecode(names[-1]) if names else None,
        name_bytes=len(table.buffer),
        index_crc='0' * 8,
    )
    with atomic_write(path) as temporary, open(temporary, 'wb') as file:
        room = padded(HEAD.size + len(as_json(header).encode()))
        sections = layout(room, len(names), len(table.buffer))
        file.seek(sections['records'][0])
        ends, crcs = _write_records(file, (read(name) for name in names), len(names))
        size = file.tell()
        index = dict(
            hashes=table.hashes, positions=table.positions, name_ends=table.ends,
            names=table.buffer, record_ends=ends, crcs=crcs,
        )  # fmt: skip
        block = np.zeros(sections['records'][0] - room, np.uint8)
        for name, values in index.items():
            block[sections[name][0] - room : sections[name][1] - room].view(sections[name][2])[:] = values
        header['index_crc'] = f'{zlib.crc32(block):08x}'
        file.seek(0)
        file.write(_packed_header(header, size, room))
        file.write(block)


def _write_records(file, records: Iterator[bytes], count: int) -> tuple[np.ndarray, np.ndarray]:
    ends, crcs, end = np.zeros(count, '<u8'), np.zeros(count, '<u4'), 0
    for position, record in enumerate(records):
        file.write(record)
        end += len(record)
        ends[position], crcs[position] = end, zlib.crc32(record)
    return ends, crcs


def _packed_header(header: dict, size: int, room: int) -> bytes:
    text = as_json(header).encode()
    crc = zlib.crc32(struct.pack('<QQ', len(text), size) + text)
    return (HEAD.pack(MAGIC, VERSION, crc, len(text), size) + text).ljust(room, b'\0')
