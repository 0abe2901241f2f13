"""From the run lengths of COCO masks to one map of labels, without decoding a mask at full size."""

import numpy as np


def runs(mask: dict) -> tuple[np.ndarray, np.ndarray]:
    """Where the runs of a mask start and end, in pixels counted column by column.

    Args:
        mask: COCO run-length encoding, ``dict(size=[H, W], counts=...)``: compressed (bytes or str) or a list
            of numbers.

    Returns:
        Two int64 arrays of one length; runs are not empty, and ends are exclusive.
    """
    counts = mask['counts']
    lengths = np.asarray(counts) if isinstance(counts, list) else _decompressed(counts)
    bounds = lengths.cumsum()
    starts, ends = bounds[0:-1:2], bounds[1::2]
    filled = ends > starts
    return starts[filled], ends[filled]


def label_map(masks: list[dict]) -> np.ndarray:
    """Which mask each pixel belongs to, the smaller one where masks overlap.

    Args:
        masks: P masks of one size (H, W), P > 0; see :func:`runs`.

    Returns:
        int32 (H, W), position in ``masks``, -1 where there is none.
    """
    height, width = masks[0]['size']
    found = [runs(mask) for mask in masks]
    starts, ends = (np.concatenate(side) for side in zip(*found, strict=True))
    owners = np.repeat(np.arange(len(masks)), [len(s) for s, _ in found])
    order = starts.argsort()
    starts, ends, owners = starts[order], ends[order], owners[order]
    if (ends[:-1] <= starts[1:]).all():
        bounds = np.stack([starts, ends], 1).ravel()
        lengths = np.diff(bounds, prepend=0, append=height * width)
        labels = np.full(len(lengths), -1, np.int32)  # before, between and after the runs
        labels[1::2] = owners
        flat = np.repeat(labels, lengths)
    else:
        flat = _painted(found, height * width)
    return flat.reshape(width, height).T


def _painted(found: list[tuple[np.ndarray, np.ndarray]], size: int) -> np.ndarray:
    """Large masks first, smaller ones over them."""
    flat = np.full(size, -1, np.int32)
    areas = [(ends - starts).sum() for starts, ends in found]
    for position in np.argsort(areas, kind='stable')[::-1]:
        for start, end in zip(*found[position], strict=True):
            flat[start:end] = position
    return flat


def _decompressed(counts: bytes | str) -> np.ndarray:
    """Run lengths from COCO's compressed form.

    Each number is a row of characters of 5 bits, the lowest first; 32 says that another one follows. Of the
    last, 16 is the sign. From the fourth number on, each is the difference to the one two before.
    """
    counts = counts.encode() if isinstance(counts, str) else counts
    digits = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(digits < 32)
    first = np.concatenate([[0], last[:-1] + 1])
    length = last - first + 1
    shift = 5 * (np.arange(len(digits)) - np.repeat(first, length))
    values = np.add.reduceat((digits & 31) << shift, first)
    values -= np.where(digits[last] & 16, 1 << (5 * length), 0)
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    return values
