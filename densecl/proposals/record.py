"""The proposals of one image as bytes.

A record is, in little-endian order: flags (uint8), exponent of the unit (int8), P, H and W (uint32); the
boxes, uint16 (P, 4) in units of ``2 ** exponent`` pixels; where the flags say so, ids int64 (P,), scores
float16 (P,), and masks: uint32 (P,) lengths and their run-length codes one after the other. A flag makes
boxes (in pixels) and scores float32. An image of 50 boxes takes 414 bytes.
"""

import math
import struct

import numpy as np

from densecl.structures import Proposals

PRECISION = 1 / 8
"""The unit of a stored box in pixels, as long as the image's sides are below 8192 pixels."""

_HEAD = struct.Struct('<BbIII')
_IDS, _SCORES, _MASKS, _FLOATS = 1, 2, 4, 8


def encode(proposals: Proposals, precision: float = PRECISION) -> bytes:
    """Proposals as bytes.

    Boxes are cut to the image and rounded to whole units, so that they come back within half a unit;
    whole pixels come back exactly. Scores are rounded to float16.

    Args:
        proposals: of one image.
        precision: the unit in pixels, a power of 2. Doubled until the longer side has at most 65535
            units. 0: exact float32 boxes, not cut, and scores, of twice the size.

    Raises:
        ValueError: a coordinate is not finite, a box is inside out, or a mask is not of the image's size.
    """
    boxes = proposals.boxes.astype(np.float64)
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError('boxes must be finite with x1 <= x2 and y1 <= y2; the first that is not: '
                         f'{_first_bad(boxes)}')  # fmt: skip
    height, width = (int(length) for length in proposals.size)
    flags, exponent = 0, 0
    if precision:
        exponent = unit_exponent(precision, max(height, width))
        limits = np.array([width, height, width, height])
        values = np.rint(np.clip(boxes, 0, limits) / 2.0**exponent).astype('<u2')
    else:
        flags, values = _FLOATS, proposals.boxes.astype('<f4')
    parts = [values.tobytes()]
    if (proposals.ids != np.arange(len(boxes))).any():
        flags, parts = flags | _IDS, [*parts, proposals.ids.astype('<i8').tobytes()]
    if proposals.scores is not None:
        scores = np.clip(np.asarray(proposals.scores, np.float64), -65504, 65504)
        scores = scores.astype('<f2') if precision else np.asarray(proposals.scores, '<f4')
        flags, parts = flags | _SCORES, [*parts, scores.tobytes()]
    if proposals.masks is not None:
        flags, parts = flags | _MASKS, [*parts, *_mask_parts(proposals.masks, (height, width))]
    return b''.join([_HEAD.pack(flags, exponent, len(boxes), height, width), *parts])


def decode(record: bytes) -> Proposals:
    """The proposals that :func:`encode` wrote."""
    flags, exponent, count, height, width = _HEAD.unpack_from(record)
    at = _HEAD.size

    def take(dtype: str, number: int) -> np.ndarray:
        nonlocal at
        values = np.frombuffer(record, dtype, number, at)
        at += values.nbytes
        return values

    if flags & _FLOATS:
        boxes = take('<f4', 4 * count).copy()
    else:
        boxes = take('<u2', 4 * count) * np.float32(2.0**exponent)
        # half a unit may have been rounded over the border
        boxes = np.minimum(boxes, np.tile(np.float32([width, height]), 2 * count))
    ids = take('<i8', count) if flags & _IDS else None
    kind = '<f4' if flags & _FLOATS else '<f2'
    scores = take(kind, count).astype(np.float32) if flags & _SCORES else None
    masks = None
    if flags & _MASKS:
        stops = at + 4 * count + np.cumsum([0, *take('<u4', count)])
        counts = [bytes(record[a:b]) for a, b in zip(stops[:-1], stops[1:], strict=True)]
        masks = [dict(size=[height, width], counts=c) for c in counts]
    return Proposals(boxes, (height, width), ids, scores, masks)


def unit_exponent(precision: float, side: int) -> int:
    """Exponent of the unit for an image of this longer side; see :func:`encode`."""
    exponent = math.log2(precision) if precision > 0 else 0.5
    if not exponent.is_integer():
        raise ValueError(f'precision must be a power of 2, such as 1/8, or 0; got {precision}')
    exponent = int(exponent)
    while side / 2.0**exponent > 65535:
        exponent += 1
    return exponent


def _mask_parts(masks: list[dict], size: tuple[int, int]) -> list[bytes]:
    counts = []
    for mask in masks:
        if tuple(mask['size']) != size:
            raise ValueError(f'a mask is {tuple(mask["size"])}, but the image is {size}')
        code = mask['counts']
        counts.append(code if isinstance(code, bytes) else code.encode())
    return [np.array([len(c) for c in counts], '<u4').tobytes(), *counts]


def _first_bad(boxes: np.ndarray) -> list[float]:
    good = np.isfinite(boxes).all(1)
    good[good] = (boxes[good, 2:] >= boxes[good, :2]).all(1)
    return boxes[~good][0].tolist()
