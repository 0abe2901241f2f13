"""Changes of bytes. Each is ``change(data, rng, other) -> bytes``; ``other`` is another valid file."""

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

Change = Callable[[bytes, np.random.Generator, bytes], bytes]
#: Numbers that readers trip over, by their width in bytes.
EXTREMES = {
    2: (0, 1, 0x7FFF, 0x8000, 0xFFFF),
    4: (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 60_000, 10**6),
    8: (0, 2**31, 10**12, 2**63 - 1, 2**63, 2**64 - 1),
}
#: Values that no field of a json file should have.
STRANGE = (
    None, True, -1, 0, 10**12, 10**400, -0.5, float('nan'), float('inf'), 1e308, '', 'x', '../../etc/passwd',
    '/etc/passwd', 'a\0b', '\ud800', [], {}, [[]], [None], [1, 2, 3], [0, 0, 1e999, 5], {'id': 1},
)  # fmt: skip


def _span(data: bytes, rng: np.random.Generator, most: int = 64) -> tuple[int, int]:
    start = int(rng.integers(len(data) + 1))
    return start, min(len(data), start + int(rng.integers(1, most + 1)))


def _place(data: bytes, rng: np.random.Generator, width: int) -> int:
    """Half of the time within the first 128 bytes, where headers are."""
    most = min(len(data), 128) if rng.random() < 0.5 else len(data)
    return int(rng.integers(max(most - width, 0) + 1))


def cut_end(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Truncate anywhere."""
    return data[: int(rng.integers(len(data)))]


def cut_few(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Truncate by a few bytes."""
    return data[: -int(rng.integers(1, 17))]


def cut_start(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Leave out the beginning."""
    return data[int(rng.integers(1, len(data))) :]


def flip_bit(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Change one bit."""
    changed = bytearray(data)
    changed[_place(data, rng, 1) % len(data)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def flip_bits(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Change one bit of every hundredth byte."""
    changed = np.frombuffer(data, np.uint8).copy()
    places = rng.integers(0, len(data), max(len(data) // 100, 2))
    changed[places] ^= (1 << rng.integers(0, 8, len(places))).astype(np.uint8)
    return changed.tobytes()


def zero_block(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Overwrite some bytes with zeros."""
    start, end = _span(data, rng, 600)
    return data[:start] + bytes(end - start) + data[end:]


def fill_block(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Overwrite some bytes with ones."""
    start, end = _span(data, rng)
    return data[:start] + b'\xff' * (end - start) + data[end:]


def random_block(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Overwrite some bytes with random ones."""
    start, end = _span(data, rng, 600)
    return data[:start] + rng.bytes(end - start) + data[end:]


def delete_block(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Leave some bytes out."""
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def double_block(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Repeat some bytes many times."""
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * int(rng.integers(1, 200)) + data[end:]


def insert_random(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Insert random bytes."""
    start, _ = _span(data, rng)
    return data[:start] + rng.bytes(int(rng.integers(1, 64))) + data[start:]


def append_random(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Append random bytes."""
    return data + rng.bytes(int(rng.integers(1, 600)))


def splice(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Go on with another file from some place on."""
    return data[: int(rng.integers(len(data)))] + other[int(rng.integers(len(other))) :]


def replace(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Another file under this one's name."""
    return other


def twice(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """The file behind itself."""
    return data + data


def huge_decimal(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """A number in ASCII becomes another one."""
    found = list(re.finditer(rb'\d+', data))
    if not found:
        return flip_bit(data, rng, other)
    match = found[int(rng.integers(len(found)))]
    number = (b'1' * 13, b'-7', b'9' * 400, b'0', b'1e999')[int(rng.integers(5))]
    return data[: match.start()] + number + data[match.end() :]


def _extreme(width: int, order: str) -> Change:
    def change(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
        place, value = _place(data, rng, width), int(rng.choice(np.array(EXTREMES[width], object)))
        return data[:place] + value.to_bytes(width, order) + data[place + width :]

    return change


#: Changes that any file may suffer, by name.
CHANGES: dict[str, Change] = {
    f.__name__: f
    for f in (
        cut_end, cut_few, cut_start, flip_bit, flip_bits, zero_block, fill_block, random_block, delete_block,
        double_block, insert_random, append_random, splice, replace, twice, huge_decimal,
    )
}  # fmt: skip
CHANGES |= {f'extreme_{8 * w}_{order}': _extreme(w, order) for w in EXTREMES for order in ('little', 'big')}

CUTS = ('cut_end', 'cut_few')


def json_change(how: str) -> Change:
    """A change of one entry of a json file: its ``value``, ``absence``, ``repetition`` or ``depth``."""

    def change(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
        content = json.loads(data)
        if how == 'depth':
            deep = b'[' * 200_000 + b']' * 200_000
            return data.replace(b'[', deep, 1)
        content, (parent, key) = _random_entry(content, rng)
        if how == 'value':
            parent[key] = copy.deepcopy(STRANGE[int(rng.integers(len(STRANGE)))])
        elif how == 'absence':
            del parent[key]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        else:
            parent[f'{key}_'] = parent[key]
        return json.dumps(content).encode()

    return change


def _random_entry(content: Any, rng: np.random.Generator) -> tuple[Any, tuple[Any, Any]]:
    """The content within a list, and where a random entry of it is."""
    top = [content]
    parent, key = top, 0
    while isinstance(parent[key], dict | list) and parent[key] and (parent is top or rng.random() < 0.75):
        parent = parent[key]
        keys = list(parent) if isinstance(parent, dict) else range(len(parent))
        key = keys[int(rng.integers(len(keys)))]
    return content, (parent, key)


JSON_CHANGES = {f'json_{how}': json_change(how) for how in ('value', 'absence', 'repetition', 'depth')}
