"""Entries of COCO json files, checked before anything is made of them.

Every function raises a ValueError of one line that names the file, the entry and the field.
"""

import re
from typing import Any

import numpy as np

MAX_PIXELS = 2**28
"""Of an image; larger ones cannot be decoded."""
_MOST = 1e12


def rows(content: Any, name: str, file: Any) -> list[dict]:
    """The list of objects ``name`` of a file's content."""
    found = content.get(name) if isinstance(content, dict) else None
    if not isinstance(found, list):
        has = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f'{file} must hold a dict with a list "{name}", it has {has!s:.80}')
    return objects(found, name.removesuffix('s'), file)


def objects(entries: Any, kind: str, file: Any) -> list[dict]:
    """``entries``, a list of objects; ``kind`` is what one is called."""
    if not isinstance(entries, list):
        raise ValueError(f'{file}: {kind}s must be a list, got {entries!r:.60}')
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f'{file}, {kind} {position} must be an object, got {entry!r:.60}')
    return entries


def field(entry: dict, name: str, where: str) -> Any:
    """A field that has to be there."""
    if name not in entry:
        raise ValueError(f'{where} has no {name!r}; it has {sorted(entry)!s:.200}')
    return entry[name]


def number_of(entry: dict, name: str, where: str) -> int | str:
    """An id: a whole number or a text."""
    value = field(entry, name, where)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f'{where}: {name!r} must be a whole number, got {value!r:.60}')
    return value


def text_of(entry: dict, name: str, where: str) -> str:
    """A text that is not empty, e.g. a file's name."""
    value = field(entry, name, where)
    if not isinstance(value, str) or not value or re.search('[\0\ud800-\udfff]', value):
        raise ValueError(f'{where}: {name!r} must be a text, got {value!r:.60}')
    return value


def size_of(entry: dict, where: str) -> tuple[int, int]:
    """Height and width of an image."""
    sides = field(entry, 'height', where), field(entry, 'width', where)
    whole = all(_is_number(side) and side == int(side) and side > 0 for side in sides)
    if not whole or sides[0] * sides[1] > MAX_PIXELS:
        raise ValueError(
            f'{where}: height and width must be whole numbers of at most {MAX_PIXELS:,} pixels together, '
            f'got {sides!r:.80}'
        )
    return int(sides[0]), int(sides[1])


def box_of(entry: dict, where: str) -> list[float]:
    """``bbox``: x, y, width and height, finite, the sides not negative."""
    box = field(entry, 'bbox', where)
    good = isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)) and min(box[2:]) >= 0
    if not good:
        raise ValueError(f'{where}: bbox must be [x, y, width, height], got {box!r:.80}')
    return box


def cut(box: list[float], size: tuple[int, int]) -> list[float] | None:
    """x1, y1, x2, y2 of the part of a ``bbox`` that lies in an image; None where it has no area."""
    x, y, width, height = box
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + width, size[1]), min(y + height, size[0])
    return [x1, y1, x2, y2] if x1 < x2 and y1 < y2 else None


def crowd_of(entry: dict, where: str) -> bool:
    """``iscrowd``; False where it is missing."""
    value = entry.get('iscrowd')
    if value not in (0, 1, None):
        raise ValueError(f"{where}: 'iscrowd' must be 0 or 1, got {value!r:.60}")
    return bool(value)


def rle_of(code: Any, size: tuple[int, int], where: str) -> dict:
    """A ``segmentation``, polygons or run lengths, as a compressed run-length encoding."""
    from pycocotools import mask as coco_mask

    check_segmentation(code, size, where)
    if isinstance(code, list):
        return coco_mask.merge(coco_mask.frPyObjects(code, *size))
    if isinstance(code['counts'], list):
        return coco_mask.frPyObjects(code, *size)
    return dict(size=list(size), counts=code['counts'].encode())


def check_segmentation(code: Any, size: tuple[int, int], where: str) -> None:
    """Refuse a ``segmentation`` that pycocotools cannot read.

    It ends the process over polygons far outside the image, and runs for ever over run lengths of another
    size.
    """
    if isinstance(code, list) and _are_polygons(code):
        values = np.array([value for polygon in code for value in polygon], np.float64)
        if np.abs(values).max() > 3 * max(size):
            raise ValueError(
                f'{where}: a polygon leaves the image of {size[1]} x {size[0]} pixels far behind'
            )
        return
    if not isinstance(code, dict) or not isinstance(code.get('counts'), list | str) or 'size' not in code:
        raise ValueError(
            f'{where}: segmentation must be polygons of at least 3 points, [[x, y, x, y, x, y]], '
            f'or run lengths, dict(size, counts), got {str(code):.80}; mend it, or take masks=False'
        )
    if code['size'] != list(size):
        raise ValueError(f'{where}: mask of {code["size"]!r:.60}, but the image is {list(size)}')
    try:
        run_lengths(code)
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from None


def run_lengths(mask: dict) -> np.ndarray:
    """Lengths of the runs of a COCO mask, by turns outside and inside of it, int64.

    Args:
        mask: ``dict(size=[H, W], counts=...)``: compressed (bytes or str) or a list of numbers.

    Raises:
        ValueError: they are none, or do not fill the image.
    """
    counts, (height, width) = mask['counts'], mask['size']
    if isinstance(counts, list):
        good = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= MAX_PIXELS for n in counts)
        lengths = np.array(counts if good else [-1], np.int64)
    else:
        lengths = _decompressed(counts.encode() if isinstance(counts, str) else counts)
    if lengths.min(initial=0) < 0 or lengths.sum() != height * width:
        raise ValueError(f'run lengths must fill the image of {height} x {width}, got {str(counts):.40}')
    return lengths


def _decompressed(counts: bytes) -> np.ndarray:
    """Run lengths from COCO's compressed form; [-1] where it is none.

    Each number is a row of characters of 5 bits, the lowest first; 32 says that another one follows. Of the
    last, 16 is the sign. From the fourth number on, each is the difference to the one two before.
    """
    digits = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(digits < 32)
    if not len(last) or last[-1] != len(digits) - 1 or digits.min() < 0 or digits.max() > 63:
        return np.array([-1])
    first = np.concatenate([[0], last[:-1] + 1])
    length = last - first + 1
    if length.max() > 6:  # 30 bits
        return np.array([-1])
    shift = 5 * (np.arange(len(digits)) - np.repeat(first, length))
    values = np.add.reduceat((digits & 31) << shift, first)
    values -= np.where(digits[last] & 16, 1 << (5 * length), 0)
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    return values


def _are_polygons(code: list) -> bool:
    return bool(code) and all(
        isinstance(polygon, list)
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and set(map(type, polygon)) <= {int, float}
        and all(-_MOST < value < _MOST for value in polygon)
        for polygon in code
    )


def _is_number(value: Any) -> bool:
    """Finite, and such that float32 holds it without overflow."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_MOST < value < _MOST
