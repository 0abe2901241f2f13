"""Writing a file of a proposal store, over any number of interruptions."""

import fcntl
import os
import shutil
import time
from pathlib import Path
from typing import TextIO

from densecl.structures import Proposals

from .shard import Shard, check_settings, write_shard
from .table import PRECISION, arrow, to_batch, to_row

BATCH, SECONDS = 256, 30  # images are written together when there are so many, or after so long


class ProposalWriter:
    """Adds images to one file of a proposal store.

    ``with ProposalStore.write('a.arrow') as writer: writer['photo.jpg'] = proposals``. Images are gathered
    by batches, each a small file in the folder ``a.arrow.part``. At the end of the block they are written
    as one file, which takes its name when it is whole, and the folder is removed. A block that is left by
    an exception, or a process that is killed (it loses its last batch), leaves the folder: the next writer
    of the path goes on from there.

    Args:
        path: of the file.
        settings: what the proposals are made with; json. The same for all images of a store.
        precision: of the boxes in pixels, see :func:`densecl.proposals.table.to_row`.
        append: add to a finished file; otherwise it is an error that there is one.

    Raises:
        FileExistsError: the file is finished already and ``append`` is false.
        ValueError: the file, or a batch left behind, was made with other settings.
        DamagedStoreError: one of them is damaged; names the images lost.
        BlockingIOError: another process is writing this file.
    """

    def __init__(
        self,
        path: str | Path,
        settings: dict | None = None,
        precision: float = PRECISION,
        append: bool = False,
    ) -> None:
        arrow()  # before anything is made
        self.path, self.precision = Path(path), precision
        self.settings = {'provider': None, **(settings or {}), 'precision': precision}
        if self.path.exists() and not append:
            raise FileExistsError(f'{path} exists; append=True adds to it')
        self._folder = self.path.with_name(self.path.name + '.part')
        self._lock = _locked(self._folder / 'lock')
        self._names, self._rows, self._since = set(), [], 0.0
        try:
            for shard in self._shards():
                shard.verify()
                self._names.update(shard)
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
        return image_id in self._names

    def __len__(self) -> int:
        return len(self._names)

    def __setitem__(self, image_id: str, proposals: Proposals) -> None:
        """Add the proposals of an image; ValueError: it is there already."""
        if image_id in self:
            raise ValueError(f'{self.path} has proposals of {image_id!r} already')
        self._since = self._since if self._rows else time.monotonic()
        self._rows.append(to_row(image_id, proposals, self.precision))
        self._names.add(image_id)
        if len(self._rows) == BATCH or time.monotonic() - self._since > SECONDS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            write_shard(self._folder / f'{time.time_ns()}.arrow', self.settings, [to_batch(self._rows)])
            self._rows = []

    def _batches(self) -> list[Path]:
        return sorted(self._folder.glob('*.arrow'))

    def _shards(self) -> list[Shard]:
        """The finished file, if there is one, and the batches."""
        shards = [Shard(file) for file in (self.path, *self._batches()) if file.exists()]
        for shard in shards:
            check_settings(shard.path, shard.settings, self.settings)
        return shards

    def _finish(self) -> None:
        if self._batches() or not self.path.exists():
            records = (batch.record for shard in self._shards() for batch in shard.batches)
            write_shard(self._folder / 'whole', self.settings, records)
            os.replace(self._folder / 'whole', self.path)
        shutil.rmtree(self._folder)

    def _leave(self) -> None:
        """Let another process go on, if there is something to go on from."""
        if not self._batches():
            shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()


def _locked(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open('w')
    try:
        # a lock that forked workers do not inherit, and that goes with the process
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):  # or else whoever had it has just finished
            return file
    except OSError:
        pass
    file.close()
    raise BlockingIOError(f'another process is writing {path.parent}; wait for it or choose another shard')
