"""Files of texts: one text per line, or the columns of a table."""

import csv
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from densecl.datasets.sources.base import StringTable

_DELIMITERS = {'.csv': ',', '.tsv': '\t'}


def read_rows(
    path: str | os.PathLike, columns: Sequence[str] | None = None, lines: bool = False
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The number of each line, counted from 1, and its texts, without white space around them.

    Args:
        path: file in UTF-8. ``.csv`` and ``.tsv`` have column names in their first line; ``.jsonl`` has an
            object per line; any other file has a text per line, and its empty lines are skipped.
        columns: names of the table's columns (keys) to read, in this order; None: one text per line.
        lines: read one text per line, whatever the file's name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no table, no such column, or an empty text in it; the message names file and line.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise FileNotFoundError(f'there is no file of texts {path}')
    kind = path.suffix.lower()
    table = not lines and (kind in _DELIMITERS or kind == '.jsonl')
    if table != (columns is not None):
        wanted = 'name the columns that are texts' if table else 'columns are for .csv, .tsv and .jsonl'
        raise ValueError(f'{path}: {wanted}, got columns={columns!r}')
    try:
        with path.open(encoding='utf-8-sig', newline='' if table and kind != '.jsonl' else None) as file:
            if not table:
                yield from ((n, (line.strip(),)) for n, line in enumerate(file, 1) if line.strip())
                return
            rows = _objects(file, path) if kind == '.jsonl' else _cells(file, path, _DELIMITERS[kind])
            for number, found in rows:
                yield number, tuple(_text(found, name, path, number) for name in columns)
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not UTF-8: {error}') from error


def _objects(file, path: Path) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f'{path}, line {number}: not json: {error}') from error
        if not isinstance(found, dict):
            raise ValueError(f'{path}, line {number}: a line must be an object, got {line.strip()[:40]}')
        yield number, found


def _cells(file, path: Path, delimiter: str) -> Iterator[tuple[int, dict]]:
    # Only tabs separate, and quotes have no meaning, as in the files of the STS benchmark.
    how = dict(quoting=csv.QUOTE_NONE) if delimiter == '\t' else {}
    reader = csv.DictReader(file, delimiter=delimiter, **how)
    for found in reader:
        if None in found:
            how = 'no text may hold a tab' if how else f'put texts that hold {delimiter!r} in quotes'
            raise ValueError(
                f'{path}, line {reader.line_num}: there are more columns than in the first line; {how}'
            )
        yield reader.line_num, found


def _text(found: dict, name: str, path: Path, number: int) -> str:
    if name not in found:
        there = ', '.join(str(key) for key in found)
        raise ValueError(f'{path}, line {number}: there is no column {name!r}, there are {there}')
    text = found[name]
    text = text.strip() if isinstance(text, str) else '' if text is None else str(text)
    if not text:
        raise ValueError(f'{path}, line {number}: the text of column {name!r} is empty')
    return text


class Texts:
    """N rows of K texts, in memory that data workers share.

    Args:
        path, columns: see :func:`read_rows`; ``path`` may be a list of files, read in this order.

    Raises:
        ValueError: there is no text.
    """

    def __init__(self, path: str | os.PathLike | Sequence, columns: Sequence[str] | None = None) -> None:
        paths = path if isinstance(path, list | tuple) else [path]
        self.width = 1 if columns is None else len(columns)
        texts, lines, first = [], [], []
        for each in paths:
            first.append(len(lines))
            for number, row in read_rows(each, columns):
                lines.append(number)
                texts.extend(row)
        self._paths, self._first = [os.fspath(each) for each in paths], first
        if not lines:
            raise ValueError(f'there is no text in {", ".join(self._paths)}')
        self._lines, self._table = np.asarray(lines), StringTable(texts)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> tuple[str, ...]:
        return tuple(self._table[index * self.width + column] for column in range(self.width))

    def where(self, index: int) -> str:
        """File and line of a row."""
        return f'{self._paths[bisect_right(self._first, index) - 1]}, line {self._lines[index]}'
