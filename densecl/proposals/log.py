"""An append-only file of records, which a process may be killed over at any time.

A log is a magic number, then frames: lengths of name and record (uint32 each), a CRC-32 of both, the name,
the record. The first frame holds the settings (json) that all records were made with. What a killed
process left unfinished at the end is cut off when the log is opened again.
"""

import fcntl
import json
import os
import struct
import time
import zlib
from pathlib import Path

MAGIC = b'DCLPLOG1'
_FRAME = struct.Struct('<III')
_SYNC_SECONDS = 5


def as_json(settings: dict) -> str:
    """Settings in one spelling, so that equal ones are equal strings."""
    return json.dumps(settings, sort_keys=True, default=_plain)


def _plain(value) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else type(value).__name__


class Log:
    """A log open for reading and appending, by this process alone.

    Args:
        path: made if it does not exist.
        settings: what the records are made with.
        wait: wait for another process that has it open, rather than fail.

    Attributes:
        entries: name -> (start, stop) of its record in the file.

    Raises:
        ValueError: the log is of other settings, or is no log.
        BlockingIOError: another process has it open.
    """

    def __init__(self, path: str | Path, settings: dict, wait: bool = False) -> None:
        self.path, self._synced = Path(path), time.monotonic()
        self._file = _open_locked(self.path, wait)
        try:
            data = _read_all(self._file)
            self.entries, self._end = scan(data)
            if len(self.entries) > 1:
                self._check_settings(data, as_json(settings))
            elif not self.entries and not _torn_start(data, as_json(settings)):
                raise ValueError(
                    f'{self.path} is not a log of proposals, or damaged at its start; '
                    'remove it or write elsewhere'
                )
            else:
                self._end = 0  # nothing in it: any settings will do
            os.ftruncate(self._file, self._end)
            if not self._end:
                self._write(MAGIC)
                self.append(b'', as_json(settings).encode())
            self.entries.pop(b'', None)
        except BaseException:
            self.close()
            raise

    def append(self, name: bytes, record: bytes) -> None:
        """Write a record; it survives the end of this process at once."""
        start = self._end + _FRAME.size + len(name)
        self._write(frame(name, record))
        self.entries[name] = start, start + len(record)
        if time.monotonic() - self._synced > _SYNC_SECONDS:  # for the end of the machine
            os.fsync(self._file)
            self._synced = time.monotonic()

    def read(self, name: bytes) -> bytes:
        """The record of a name in :attr:`entries`."""
        start, stop = self.entries[name]
        return os.pread(self._file, stop - start, start)

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._file)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.pwrite(self._file, left, self._end + len(data) - len(left)) :]
        self._end += len(data)  # not before all of it is there: the next one overwrites a failed one

    def _check_settings(self, data: bytes, wanted: str) -> None:
        start, stop = self.entries[b'']
        held = data[start:stop].decode()
        if held != wanted:
            raise ValueError(
                f'{self.path} holds proposals made with other settings; go on with those, or write '
                f'elsewhere, or remove it.\n  there: {held}\n  now:   {wanted}'
            )


def frame(name: bytes, record: bytes) -> bytes:
    """One entry of a log."""
    return _FRAME.pack(len(name), len(record), zlib.crc32(record, zlib.crc32(name))) + name + record


def scan(data: bytes) -> tuple[dict[bytes, tuple[int, int]], int]:
    """Where the records of a log are, and where its intact part ends (0: not even the settings)."""
    entries, end = {}, len(MAGIC)
    if data[:end] != MAGIC:
        return {}, 0
    while end + _FRAME.size <= len(data):
        name_size, record_size, crc = _FRAME.unpack_from(data, end)
        name_at = end + _FRAME.size
        start = name_at + name_size
        stop = start + record_size
        if stop > len(data) or zlib.crc32(memoryview(data)[name_at:stop]) != crc:
            break
        entries[data[name_at:start]] = start, stop
        end = stop
    return (entries, end) if b'' in entries else ({}, 0)


def lookup(data: bytes, name: bytes) -> bytes | None:
    """The record of one name in a log, or None; far faster than :func:`scan`. ``b''``: the settings."""
    at = len(MAGIC)
    while at + _FRAME.size <= len(data):
        name_size, record_size, crc = _FRAME.unpack_from(data, at)
        start = at + _FRAME.size + name_size
        stop = start + record_size
        if data[at + _FRAME.size : start] == name:
            whole = stop <= len(data) and zlib.crc32(data[start:stop], zlib.crc32(name)) == crc
            return data[start:stop] if whole else None
        at = stop
    return None


def _torn_start(data: bytes, settings: str) -> bool:
    """Whether a process may have been killed over the first bytes of a log."""
    whole = len(MAGIC) + len(frame(b'', settings.encode()))
    return MAGIC.startswith(data[: len(MAGIC)]) and len(data) <= whole


def _read_all(file: int) -> bytes:
    parts, at = [], 0
    while part := os.pread(file, 1 << 28, at):  # one call gives at most 2 GiB
        parts.append(part)
        at += len(part)
    return b''.join(parts)


def _open_locked(path: Path, wait: bool) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # A lock that forked workers do not inherit; it goes when the process closes or opens and
            # closes this file by any other way, or ends.
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # whoever had it may have finished and removed it meanwhile
            if path.exists() and os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        except (BlockingIOError, PermissionError):
            os.close(file)
            raise BlockingIOError(
                f'another process is writing {path}; wait for it or choose another shard'
            ) from None
        os.close(file)
