"""Permutations of a puzzle's cells that are far from each other: made here, written and read."""

import functools
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from densecl.files import atomic_write
from densecl.inputs import npy_from_bytes
from densecl.messages import check_choice

#: Largest number of cells, as all permutations are compared: 362,880 of nine cells.
MOST_CELLS = 9
RULES = ('min', 'mean')


@functools.lru_cache(maxsize=8)
def far_permutations(cells: int, count: int, rule: str = 'min', seed: int | None = None) -> np.ndarray:
    """``count`` different permutations of ``cells`` numbers, chosen one after the other (Noroozi and Favaro,
    ECCV 2016, algorithm 1).

    Each next one has the largest Hamming distance (number of different cells) to those already chosen.

    Args:
        cells: at most 9.
        count: at most ``cells!``.
        rule: maximise the ``min`` of the distances to those chosen, or their ``mean`` (VISSL's ``max_avg``).
            ``mean`` allows pairs that differ in only two cells.
        seed: seed of the first permutation, and of the choice among equal distances. None: start with the
            identity, and choose the first in lexicographic order.

    Returns:
        (count, cells) uint8, numbers from 0; read-only.
    """
    check_choice('permutations: rule', rule, RULES)
    if not 0 < cells <= MOST_CELLS:
        raise ValueError(f'permutations: of 1 to {MOST_CELLS} cells, got {cells}; give a file of them')
    every = np.array(list(itertools.permutations(range(cells))), np.uint8)
    if not 0 < count <= len(every):
        raise ValueError(
            f'permutations: {cells} cells have {len(every)} permutations, {count} were asked for'
        )
    if seed is not None:
        every = np.random.default_rng(seed).permutation(every)
    columns = np.ascontiguousarray(every.T)
    join, start = (np.minimum, cells) if rule == 'min' else (np.add, 0)
    score, chosen = np.full(len(every), start, np.int32), [0]
    while len(chosen) < count:
        join(score, hamming(columns, every[chosen[-1]]), out=score)
        score[chosen[-1]] = np.iinfo(np.int32).min // 2  # never choose it again
        chosen.append(int(score.argmax()))
    found = every[chosen]
    found.flags.writeable = False
    return found


def hamming(columns: np.ndarray, permutation: Sequence[int]) -> np.ndarray:
    """(cells, N) and (cells,) -> (N,) uint8, number of different cells."""
    distance = np.zeros(columns.shape[1], np.uint8)
    for column, value in zip(columns, permutation, strict=True):
        distance += column != value
    return distance


def read_permutations(path: str | os.PathLike, cells: int) -> np.ndarray:
    """Read (N, cells) uint8, numbers from 0, from a file: ``.npy``, text, or ``.bin`` in the authors' format.

    The authors' format has two int32, N and ``cells``, then the numbers as integers of one size. Numbers in a
    file start at 0 or at 1.

    Raises:
        ValueError: the file does not have different permutations of ``cells`` numbers; the message names file
            and row.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f'permutations: there is no file {path}; tools/make_permutations.py writes one')
    try:
        rows = _read(path)
    except (ValueError, OSError) as error:
        raise ValueError(f'permutations: {path} cannot be read: {error}') from error
    if rows.ndim != 2 or rows.shape[1] != cells or not len(rows):
        raise ValueError(
            f'permutations: {path} holds {rows.shape}, not (N, {cells}); change grid or the file'
        )
    rows = rows - (rows.min() == 1)
    wrong = (np.sort(rows, 1) != np.arange(cells)).any(1)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f'permutations: {path}: row {row} is no permutation of {cells} cells: {rows[row].tolist()}'
        )
    if len(np.unique(rows, axis=0)) < len(rows):
        raise ValueError(
            f'permutations: {path} holds the same permutation twice, which no answer can tell apart'
        )
    return rows.astype(np.uint8)


def _read(path: Path) -> np.ndarray:
    if path.suffix == '.npy':
        return npy_from_bytes(path.read_bytes())
    if path.suffix != '.bin':
        return np.loadtxt(path, dtype=np.int64, ndmin=2)
    data = path.read_bytes()
    count, cells = np.frombuffer(data, '<i4', 2)
    size = (len(data) - 8) // max(int(count) * int(cells), 1)
    if size not in (1, 4, 8) or len(data) != 8 + size * count * cells:
        raise ValueError(f'{len(data)} bytes are not {count} x {cells} integers behind two of 4 bytes')
    return np.frombuffer(data, f'<i{size}', offset=8).reshape(count, cells).astype(np.int64)


def write_permutations(path: str | os.PathLike, permutations: np.ndarray) -> None:
    """Write permutations, numbers from 0, as ``.npy`` or, with any other suffix, as text."""
    with atomic_write(path) as temporary, open(temporary, 'wb') as file:
        if Path(path).suffix == '.npy':
            np.save(file, permutations)
        else:
            np.savetxt(file, permutations, fmt='%d')
