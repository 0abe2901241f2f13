"""Proposals of many images as columns of Apache Arrow: a row an image, in the order of the ids' bytes.

The columns are image_id, width, height, boxes (x1, y1, x2, y2 in pixels), ids, scores, masks (compressed
COCO run-length codes of the image's size) and crc32, a checksum of the row. Null ids are 0 .. P - 1.
"""

import os
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from types import ModuleType

import numpy as np

from densecl.structures import Proposals

PRECISION = 1 / 8
"""Stored boxes are whole multiples of so many pixels."""

ROWS = 1024
"""Images in a record batch."""


def arrow() -> ModuleType:
    """The module pyarrow, which is needed only from here on."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "proposals are kept by pyarrow, which is not installed: pip install 'densecl[proposals]'",
            name='pyarrow',
        ) from error
    return pyarrow


def schema(text: bool = False, metadata: dict | None = None):
    """The columns; ``text``: all ids are UTF-8."""
    pa = arrow()
    columns = dict(image_id=pa.string() if text else pa.binary(), width=pa.int32(), height=pa.int32())
    items = dict(boxes=pa.list_(pa.float32(), 4), ids=pa.int64(), scores=pa.float32(), masks=pa.binary())
    columns |= {name: pa.list_(item) for name, item in items.items()} | {'crc32': pa.uint32()}
    return pa.schema(list(columns.items()), metadata)


def to_row(image_id: str, proposals: Proposals, precision: float = 0) -> dict:
    """The proposals of an image as a row.

    Args:
        image_id: what the source calls the image.
        proposals: of the image.
        precision: boxes are cut to the image and rounded to whole multiples of so many pixels, so whole
            pixels come back exactly. 0: boxes stay as they are.

    Raises:
        ValueError: a coordinate is not finite, a box is inside out, or a mask is not of the image's size.
    """
    boxes, (height, width) = proposals.boxes.astype(np.float64), map(int, proposals.size)
    good = np.isfinite(boxes).all(1) & (boxes[:, 2:] >= boxes[:, :2]).all(1)
    if not good.all():
        raise ValueError(f'{image_id!r}: boxes must be finite with x1 <= x2 and y1 <= y2; the first that is '
                         f'not: {boxes[~good][0].tolist()}')  # fmt: skip
    if precision:
        boxes = np.clip(np.rint(boxes / precision) * precision, 0, [width, height] * 2)
    for mask in proposals.masks or ():
        if tuple(mask['size']) != (height, width):
            raise ValueError(
                f'{image_id!r}: a mask is {tuple(mask["size"])}, but the image is {(height, width)}'
            )
    numbered = (proposals.ids == np.arange(len(boxes))).all()
    return dict(
        image_id=os.fsencode(image_id),
        width=width,
        height=height,
        boxes=boxes.astype(np.float32).tolist(),
        ids=None if numbered else proposals.ids.tolist(),
        scores=None if proposals.scores is None else np.float32(proposals.scores).tolist(),
        masks=None if proposals.masks is None else [mask['counts'] for mask in proposals.masks],
        crc32=0,
    )


def to_batch(rows: list[dict]):
    """Rows as a record batch, with their checksums."""
    pa = arrow()
    record = pa.RecordBatch.from_pylist(rows, schema())
    batch = Batch(record)
    crcs = pa.array([batch.row(row)[2] for row in range(len(rows))], pa.uint32())
    return record.set_column(record.num_columns - 1, 'crc32', crcs)


def in_order(records: Iterable) -> tuple[list[bytes], Iterator]:
    """All image ids of record batches, sorted, and batches of :data:`ROWS` rows in that order.

    Of rows with the same id the last one counts. The new batches are made one by one.
    """
    pa = arrow()
    rows = {}
    for record in (record.cast(schema()) for record in records):
        rows |= {name: (record, row) for row, name in enumerate(Batch(record))}
    names = sorted(rows)
    parts = (names[start : start + ROWS] for start in range(0, len(names), ROWS))
    return names, (pa.concat_batches([rows[n][0].slice(rows[n][1], 1) for n in part]) for part in parts)


class Batch:
    """A record batch of proposals, read in place; iterates over the image ids, bytes."""

    def __init__(self, record) -> None:
        self.record = record
        (_, ends, names), (_, starts, *_, boxes) = (record[name].buffers() for name in ('image_id', 'boxes'))
        self._names = memoryview(ends).cast('i'), memoryview(names or b'')
        self._boxes = memoryview(starts).cast('i'), np.frombuffer(boxes or b'', np.float32).reshape(-1, 4)
        self._widths, self._heights, self._crcs = (
            np.frombuffer(record[name].buffers()[1], np.uint32).data for name in ('width', 'height', 'crc32')
        )
        lists = (record[name] for name in ('ids', 'scores', 'masks'))
        self._lists = [None if column.null_count == len(column) else column for column in lists]

    def __reduce__(self) -> tuple:
        return Batch, (self.record,)

    def __len__(self) -> int:
        return self.record.num_rows

    def __iter__(self) -> Iterator[bytes]:
        return map(self.name, range(len(self)))

    def name(self, row: int) -> bytes:
        """The image id of a row."""
        ends, names = self._names
        return names[ends[row] : ends[row + 1]].tobytes()

    def row(self, row: int) -> tuple[np.ndarray, list, int]:
        """Boxes, the other columns but the last, and the CRC-32 of all, which should be the last."""
        starts, boxes = self._boxes
        boxes = boxes[starts[row] : starts[row + 1]].copy()
        others = [None if column is None else column[row].as_py() for column in self._lists]
        others += self._widths[row], self._heights[row]
        return boxes, others, zlib.crc32(repr(others).encode(), zlib.crc32(boxes, zlib.crc32(self.name(row))))

    def read(self, row: int) -> Proposals | None:
        """The proposals of a row; None if it is not what was written, or its boxes are none."""
        boxes, (ids, scores, masks, width, height), crc = self.row(row)
        if crc != self._crcs[row] or not (np.isfinite(boxes).all() and (boxes[:, 2:] >= boxes[:, :2]).all()):
            return None
        if masks is not None:
            masks = [dict(size=[height, width], counts=counts) for counts in masks]
        scores = None if scores is None else np.float32(scores)
        return Proposals(boxes, (height, width), ids, scores, masks)


class Table:
    """A read-only mapping, image id -> Proposals, over record batches, which forked workers share.

    Args:
        records: ``pyarrow.RecordBatch`` in the order of the ids' bytes.
    """

    def __init__(self, records: Iterable) -> None:
        self.batches = [Batch(record) for record in records]
        self._firsts = [batch.name(0) for batch in self.batches]

    @classmethod
    def of(cls, items: Iterable[tuple[str, Proposals]]) -> 'Table':
        """In memory; boxes are kept exactly."""
        rows = (to_row(name, proposals) for name, proposals in items)
        return cls(in_order(map(to_batch, iter(lambda: list(islice(rows, ROWS)), [])))[1])

    def __len__(self) -> int:
        return sum(map(len, self.batches))

    def __iter__(self) -> Iterator[str]:
        return (os.fsdecode(name) for batch in self.batches for name in batch)

    def __contains__(self, image_id: str) -> bool:
        return self.find(os.fsencode(image_id)) is not None

    def __getitem__(self, image_id: str) -> Proposals:
        found = self.find(os.fsencode(image_id))
        if found is None:
            raise KeyError(image_id)
        return found[0].read(found[1])

    def find(self, name: bytes) -> tuple[Batch, int] | None:
        """Where an image is, or None."""
        place = bisect_right(self._firsts, name) - 1
        if place >= 0:
            batch = self.batches[place]
            row = bisect_left(range(len(batch)), name, key=batch.name)
            if row < len(batch) and batch.name(row) == name:
                return batch, row
        return None
