"""Writing a file of a proposal store, over any number of interruptions."""

import fcntl
import glob
import json
import mmap
import os
import time
import warnings
from itertools import chain
from pathlib import Path

from densecl.structures import Proposals

from .shard import BROKEN, KEY, Shard, as_json, check_settings, whole_batches, write_shard
from .table import PRECISION, Batch, Table, arrow, schema, to_batch, to_row

BATCH = 256  # images that are written together, and at most so many seconds after the first of them
SECONDS = 5


class ProposalWriter:
    """Adds images to one file of a proposal store.

    ``with ProposalStore.write('a.arrow') as writer: writer['photo.jpg'] = proposals``. Images are appended
    by batches to an Arrow stream, ``a.arrow.part``. At the end of the block the file is written whole under
    a temporary name and renamed, and the stream removed. A block that is left by an exception, or a process
    that is killed (it loses its last batch), leaves the stream: the next writer of the path goes on from it.

    Args:
        path: of the file.
        settings: what the proposals are made with; json. The same for all images of a store.
        precision: of the boxes in pixels, see :func:`densecl.proposals.table.to_row`.
        append: add to a finished file; otherwise it is an error that there is one.

    Raises:
        FileExistsError: the file is finished already and ``append`` is false.
        ValueError: the file, or the stream left behind, was made with other settings.
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
        self._part = self.path.with_name(self.path.name + '.part')
        self._header = schema(metadata={KEY: as_json(dict(settings=self.settings))}).serialize().to_pybytes()
        self._file = _open_locked(self._part)
        self._maps, self._rows, self._since = [], [], 0.0
        self._names, self._end, self._old = set(), 0, Table(())
        try:
            self._resume()
            if self.path.exists():
                self._old = Shard(self.path)
                check_settings(self.path, self._old.settings, self.settings)
            # a process killed before it removed its stream leaves images in both
            self._names = {name for name in self._names if self._old.find(name) is None}
        except BaseException:
            self._leave()
            raise

    def __enter__(self) -> 'ProposalWriter':
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            self._flush()
            if kind is None:
                self._finish()
        finally:
            self._leave()

    def __contains__(self, image_id: str) -> bool:
        return os.fsencode(image_id) in self._names or image_id in self._old

    def __len__(self) -> int:
        return len(self._names) + len(self._old)

    def __setitem__(self, image_id: str, proposals: Proposals) -> None:
        """Add the proposals of an image; ValueError: it is there already."""
        if image_id in self:
            raise ValueError(f'{self.path} has proposals of {image_id!r} already')
        row = to_row(image_id, proposals, self.precision)
        self._since = self._since if self._rows else time.monotonic()
        self._rows.append(row)
        self._names.add(row['image_id'])
        if len(self._rows) == BATCH or time.monotonic() - self._since > SECONDS:
            self._flush()

    def _resume(self) -> None:
        """Take up what an earlier writer left, up to a batch that it did not finish."""
        held = self._held()
        if not self._header.startswith(held[: len(self._header) + 1].to_pybytes()):  # or else just begun
            self._read(held)
        os.ftruncate(self._file, self._end)
        if not self._end:
            self._append(self._header)

    def _read(self, held) -> None:
        try:
            source = arrow().BufferReader(held)
            stream = arrow().ipc.open_stream(source)
            settings = json.loads(stream.schema.metadata[KEY])['settings']
        except BROKEN as error:
            raise ValueError(
                f'{self._part} is not an unfinished store, or damaged at its start; remove it, or write '
                'elsewhere'
            ) from error
        lost = 0
        for batch in map(Batch, whole_batches(stream)):
            if lost or None in map(batch.read, range(len(batch))):
                lost += len(batch)
            else:
                self._names.update(batch)
                self._end = source.tell()
        if self._names:  # or else any settings will do
            check_settings(self._part, settings, self.settings)
        if self._end < held.size:
            warnings.warn(
                f'{self._part}: the last {held.size - self._end} bytes are damaged, or were not finished, '
                f'and are dropped: up to {lost or BATCH} images are to be made again',
                stacklevel=4,
            )

    def _held(self):
        """What is in the stream."""
        size = os.fstat(self._file).st_size
        if not size:
            return arrow().py_buffer(b'')
        self._maps.append(mmap.mmap(self._file, size, access=mmap.ACCESS_READ))  # to close it ends the lock
        return arrow().py_buffer(self._maps[-1])

    def _flush(self) -> None:
        if self._rows:
            self._append(to_batch(self._rows).serialize())
            self._rows = []

    def _append(self, data) -> None:
        left = memoryview(data)
        while left:
            left = left[os.pwrite(self._file, left, self._end + len(data) - len(left)) :]
        os.fsync(self._file)
        self._end += len(data)  # not before all of it is there: the next one overwrites a failed one

    def _finish(self) -> None:
        """Write everything into the file; there is nothing left to go on from."""
        # of processes that were killed while they wrote the file; no other one has the lock now
        for stale in self.path.parent.glob(f'.{glob.escape(self.path.name)}.{"?" * 8}.tmp'):
            stale.unlink()
        if self._names or not self.path.exists():
            stream = whole_batches(arrow().ipc.open_stream(self._held()))
            write_shard(self.path, self.settings, chain((b.record for b in self._old.batches), stream))
        self._names.clear()

    def _leave(self) -> None:
        """Let another process go on, if there is something to go on from."""
        if self._end and not self._names:
            self._part.unlink()
        os.close(self._file)


def _open_locked(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # A lock that forked workers do not inherit; it goes when the process closes this file, by
            # whatever way it was opened, or ends.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(file)
            raise BlockingIOError(
                f'another process is writing {path}; wait for it or choose another shard'
            ) from None
        # whoever had it may have finished and removed it meanwhile
        if path.exists() and os.path.samestat(os.fstat(file), os.stat(path)):
            return file
        os.close(file)
