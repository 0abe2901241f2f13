"""One file of a proposal store: an Arrow file, written once, then mapped into memory and never changed."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from densecl.files import atomic_write
from densecl.structures import Proposals

from .errors import DamagedStoreError
from .table import ROWS, Batch, Table, arrow, in_order, schema

KEY = b'densecl'  # of the schema's metadata
# What pyarrow raises over bytes that are not what it wrote.
BROKEN = (
    ValueError, OSError, LookupError, TypeError, NotImplementedError, MemoryError, RecursionError,
    AttributeError,
)  # fmt: skip


def as_json(settings: dict) -> str:
    """Settings in one spelling, so that equal ones are equal strings."""
    return json.dumps(settings, sort_keys=True, default=_plain)


def _plain(value) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else type(value).__name__


def check_settings(path: Path, held: dict, wanted: dict) -> None:
    """Refuse a file that was made with other settings."""
    if as_json(held) != as_json(wanted):
        raise ValueError(
            f'{path} holds proposals made with other settings; go on with those, or remove it, or keep them '
            f'in different folders.\n  there: {as_json(held)}\n  now:   {as_json(wanted)}'
        )


def write_shard(path: str | Path, settings: dict, records: Iterable) -> None:
    """Write a file, which appears only when it is complete.

    Args:
        path: of the file.
        settings: what the proposals were made with; json.
        records: record batches, see :mod:`densecl.proposals.table`, in any order: the file is the same.
    """
    pa = arrow()
    names, batches = in_order(records)
    ids = [os.fsdecode(name) for name in names]
    header = dict(settings=settings, images=len(ids), firsts=ids[::ROWS], last=ids[-1] if ids else None)
    text = re.search('[\udc80-\udcff]', ''.join(ids)) is None  # no byte that is not UTF-8
    columns = schema(text, {KEY: as_json(header)})
    with (
        atomic_write(path) as temporary,
        pa.OSFile(os.fsencode(temporary), 'wb') as file,
        pa.ipc.new_file(file, columns) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch.cast(columns))


class Shard(Table):
    """A file of a store, open for reading; its framing is checked now, each row when it is read.

    Args:
        path: of the file.

    Attributes:
        settings: what the proposals were made with.

    Raises:
        DamagedStoreError: not a store, cut short, or the framing is damaged; names the images lost.
        ValueError: a file of an older format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        pa = arrow()
        data = pa.memory_map(os.fsencode(path)).read_buffer() if os.path.getsize(path) else pa.py_buffer(b'')
        if data[:8].to_pybytes() == b'DCLPROPS':
            raise ValueError(
                f'{path} was written by an older densecl; make it anew with tools/make_proposals.py, or let '
                'the older one write it --to-coco, then take it --from-coco here'
            )
        try:
            stream = pa.ipc.open_stream(data[8:])  # the file is a stream in a frame
            header = json.loads(stream.schema.metadata[KEY])
            self.settings, self._images = header['settings'], header['images']
            firsts, last = header['firsts'], header['last']
            if not isinstance(self._images, int) or not isinstance(firsts, list):
                raise ValueError('its header is of another type')
            if stream.schema not in (schema(), schema(text=True)):
                raise ValueError(stream.schema)
        except BROKEN as error:
            raise DamagedStoreError(
                f'{path} is not a proposal store, or is cut or changed at its start; all its images are lost'
            ) from error
        super().__init__(whole_batches(data[8:], stream.schema))
        try:
            framed = pa.ipc.open_file(data).schema.equals(stream.schema, check_metadata=True)
        except BROKEN:
            framed = False
        if len(self) != self._images or not framed:
            lost = *firsts[len(self.batches) :], last
            self._refuse('is cut short or changed', lost, self._images - len(self))

    def __reduce__(self) -> tuple:
        return Shard, (self.path,)  # another process maps the file itself

    def read(self, batch: Batch, row: int) -> Proposals:
        """The proposals of what :meth:`find` found.

        Raises:
            DamagedStoreError: they were changed since they were written.
        """
        proposals = batch.read(row)
        if proposals is None:
            self._refuse('is damaged', [os.fsdecode(batch.name(row))])
        return proposals

    def verify(self) -> None:
        """Read everything.

        Raises:
            DamagedStoreError: rows are damaged; names the first and the last of them.
        """
        rows = ((batch, row) for batch in self.batches for row in range(len(batch)))
        bad = [os.fsdecode(batch.name(row)) for batch, row in rows if batch.read(row) is None]
        if bad:
            self._refuse('is damaged', bad)

    def _refuse(self, what: str, lost: Sequence[str], count: int | None = None) -> None:
        """Raise for ``count`` images, all unless given, from the first to the last of those named."""
        count = len(lost) if count is None else count
        ends = f', from {lost[0]!r} to {lost[-1]!r}' if count else ''
        raise DamagedStoreError(
            f'proposal store {self.path} {what}; lost are {count} of its {self._images} images{ends}. '
            'Copy the file again, or remove it and make it anew'
        )


def whole_batches(data, columns) -> Iterator:
    """The record batches of an Arrow stream, up to where it is cut or its framing is damaged.

    Stores are written without compression. Compressed batches, which may become of any size, are damage too.
    """
    pa = arrow()
    messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(data))
    with suppress(StopIteration, *BROKEN):
        messages.read_next_message()  # the schema
        while not is_compressed((message := messages.read_next_message()).metadata.to_pybytes()):
            record = pa.ipc.read_record_batch(message, columns)
            record.validate(full=True)
            yield record


def is_compressed(metadata: bytes) -> bool:
    """Whether a record batch's message, a flatbuffer, has a ``compression`` (field 3 of RecordBatch)."""

    def place(table: int, field: int) -> int:
        vtable = table - int.from_bytes(metadata[table : table + 4], 'little', signed=True)
        slot = 4 + 2 * field
        if slot >= int.from_bytes(metadata[vtable : vtable + 2], 'little'):
            return 0
        return int.from_bytes(metadata[vtable + slot : vtable + slot + 2], 'little')

    def follow(position: int) -> int:
        return position + int.from_bytes(metadata[position : position + 4], 'little')

    message = follow(0)
    batch = follow(message + place(message, 2))  # field 2 of Message is its header
    return place(batch, 3) != 0
