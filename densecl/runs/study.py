"""A study: figures, pretrainings and curves stored as CSV, and their significant differences."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from .differences import Counts, Difference, Table, over_blocks, over_images, tables, together

FIGURES, RUNS, CURVES, COUNTS, STUDY = 'results.csv', 'runs.csv', 'curves.csv', 'counts.npz', 'study.json'
#: Expected share of false differences among those reported as significant.
FALSE_SHARE = 0.05
_KEYS, _OPTIONAL = ('title', 'about', 'rows', 'against', 'columns'), ('curves', 'only_full')
_COLUMN = ('title', 'task', 'figure', 'short')


@dataclass(frozen=True)
class Column:
    """A figure of a task in the tables.

    Attributes:
        title: title of the column.
        task, figure: as in ``results.csv``.
        short: whether it is in the short table as well.
    """

    title: str
    task: str
    figure: str
    short: bool = True


@dataclass(frozen=True)
class Comparison:
    """The comparison of two weights on one figure.

    Attributes:
        difference: over seeds and test images together, as far as both are available; None without figures.
        p_value: its unadjusted p-value; None if nothing was tested.
        holds: whether it is significantly different from 0, among all comparisons of the study.
    """

    difference: Difference | None
    p_value: float | None
    holds: bool = False


@dataclass(frozen=True)
class Study:
    """The content of ``study.json`` and of the CSVs beside it.

    Attributes:
        name: name of the folder.
        title, about: texts for the reader.
        rows: kind -> weights, in the order of the tables.
        against: weights that all others are compared with; the short table shows the first two.
        columns: columns of the tables.
        tables: one per column.
        figures: lines of ``results.csv``.
        runs: lines of ``runs.csv``, one per pretraining.
        points: lines of ``curves.csv``.
        curves: panels of the picture: title -> name of a figure in ``curves.csv``.
        only_full: weights that the short table leaves out.
    """

    name: str
    title: str
    about: str
    rows: dict[str, list[str]]
    against: list[str]
    columns: list[Column]
    tables: list[Table]
    figures: list[dict[str, Any]]
    runs: list[dict[str, str]] = field(default_factory=list)
    points: list[dict[str, str]] = field(default_factory=list)
    curves: dict[str, str] = field(default_factory=dict)
    only_full: list[str] = field(default_factory=list)

    @property
    def weights(self) -> list[str]:
        """All weights, in the order of the tables."""
        return [name for names in self.rows.values() for name in names]

    def compare(self) -> dict[tuple[str, str, str], Comparison]:
        """(title of the column, weights they are compared with, weights) -> comparison.

        A difference holds if the method of Benjamini and Hochberg finds it significant, with at most 5 %
        expected false ones among all columns and pairs of the study.
        """
        found = {
            (column.title, one, two): _compare(table, one, two)
            for column, table in zip(self.columns, self.tables, strict=True)
            for one in self.against
            for two in self.weights
            if one != two and one in table.values and two in table.values and (one, two) not in self._twice
        }
        from scipy.stats import false_discovery_control  # takes a second or two

        tested = [key for key, each in found.items() if each.p_value is not None]
        adjusted = false_discovery_control([found[key].p_value for key in tested])
        for key, p_value in zip(tested, adjusted, strict=True):
            each = found[key]
            found[key] = Comparison(each.difference, each.p_value, p_value <= FALSE_SHARE)
        return found

    @property
    def _twice(self) -> set[tuple[str, str]]:
        """Pairs of ``against`` that would be compared a second time, in the opposite order."""
        return {(two, one) for i, one in enumerate(self.against) for two in self.against[i + 1 :]}


def _compare(table: Table, one: str, two: str) -> Comparison:
    found = together(over_blocks(table, one, two), over_images(table, one, two))
    return Comparison(found, found.interval.p_value if found and found.tested else None)


def read_study(folder: str | Path) -> Study:
    """Read ``study.json``, ``results.csv`` and, if they exist, ``runs.csv``, ``curves.csv``, ``counts.npz``.

    Raises:
        FileNotFoundError: ``study.json`` or ``results.csv`` is missing.
        ValueError: a key, a weight or a figure is not known, or is in only one of the files.
    """
    folder = Path(folder)
    said = _read_json(folder / STUDY)
    columns = [_column(each, folder / STUDY) for each in said['columns']]
    figures = read_figures(folder)
    titles = _titles(said['rows'])
    order = [titles[name] for name in _check_names(said, figures, folder)]
    figures, runs, points = (
        [row | dict(weights=titles.get(row['weights'], row['weights'])) for row in rows]
        for rows in (figures, read_csv(folder / RUNS), read_csv(folder / CURVES))
    )
    of_key = {(table.task, table.figure): table for table in tables(figures, order)}
    for column in columns:
        if (column.task, column.figure) not in of_key:
            known = ', '.join(sorted('/'.join(key) for key in of_key))
            raise ValueError(
                f'{folder / STUDY}: column {column.title!r}: {FIGURES} has no {column.task}/{column.figure}; '
                f'it has {known}'
            )
    return Study(
        name=folder.name,
        **{key: said[key] for key in ('title', 'about', 'against')},
        rows={kind: [titles[name] for name in names] for kind, names in said['rows'].items()},
        columns=columns,
        tables=[of_key[column.task, column.figure] for column in columns],
        figures=figures,
        runs=runs,
        points=points,
        curves=said.get('curves', {}),
        only_full=[titles[name] for name in said.get('only_full', ())],
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f'{path} is missing: title, about, rows, against and columns of the tables')
    try:
        said = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is no JSON: {error}') from None
    missing = [key for key in _KEYS if key not in said]
    unknown = [key for key in said if key not in _KEYS + _OPTIONAL]
    if missing or unknown:
        what = f'needs {", ".join(missing)}' if missing else f'takes no {", ".join(unknown)}'
        raise ValueError(f'{path} {what}; its keys are {", ".join(_KEYS + _OPTIONAL)}')
    return said


def _column(said: Mapping[str, Any], path: Path) -> Column:
    if set(said) - set(_COLUMN) or not {'title', 'task', 'figure'} <= set(said):
        raise ValueError(f'{path}: a column has title, task, figure and perhaps short, got {dict(said)}')
    return Column(**said)


def _titles(rows: Mapping[str, Any]) -> dict[str, str]:
    """Weights -> their title; rows are lists, or dicts if titles differ from names."""
    return {
        name: title
        for names in rows.values()
        for name, title in (names.items() if isinstance(names, Mapping) else zip(names, names, strict=True))
    }


def _check_names(said: Mapping[str, Any], figures: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
    """The weights of all rows, in order; a ValueError if they are not those that were measured."""
    order = [name for names in said['rows'].values() for name in names]
    titles, measured = list(_titles(said['rows']).values()), {row['weights'] for row in figures}
    wrong = {
        f'{STUDY} has twice': {name for name in order if order.count(name) > 1}
        | {title for title in titles if titles.count(title) > 1},
        f'no row of {STUDY} has': measured - set(order),
        f'{FIGURES} has no figures of': set(order) - measured,
        '"against" names what no row is called:': set(said['against']) - set(titles),
        '"only_full" has what no row has:': set(said.get('only_full', ())) - set(order),
    }
    for what, names in wrong.items():
        if names:
            raise ValueError(f'{folder}: {what} {", ".join(sorted(names))}')
    return order


def read_csv(path: Path) -> list[dict[str, str]]:
    """Lines of a CSV; none if it does not exist."""
    if not path.is_file():
        return []
    with path.open(encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def read_figures(folder: Path) -> list[dict[str, Any]]:
    """Lines of ``results.csv`` with numbers, and ``counts``: a function that reads a segmentation's counts.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a value is no number.
    """
    import numpy as np

    path = folder / FIGURES
    if not path.is_file():
        raise FileNotFoundError(f'{path} is missing; tools/results.py --add {folder.name} --benchmark DIR')
    kept = dict(np.load(folder / COUNTS)) if (folder / COUNTS).is_file() else {}
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(read_csv(path), 2):
        try:
            row = row | dict(seed=int(row['seed']), value=float(row['value']))
        except (KeyError, TypeError, ValueError):
            raise ValueError(f'{path}, line {number}: seed and value must be numbers, got {row}') from None
        rows.append(row | dict(counts=partial(_counts, kept, row)))
    return rows


def counts_key(row: Mapping[str, Any]) -> str:
    """Name of the counts of a figure in ``counts.npz``."""
    return '|'.join(str(row[name]) for name in ('task', 'figure', 'weights', 'seed'))


def groups_key(task: str) -> str:
    """Name of the groups of images of a task in ``counts.npz``."""
    return f'groups|{task}'


def _counts(kept: Mapping[str, Any], row: Mapping[str, Any]) -> Counts | None:
    import torch

    found = kept.get(counts_key(row))
    if found is None:
        return None
    groups = kept[groups_key(row['task'])].tolist()
    return Counts(torch.from_numpy(found.astype('int64')), groups, groups)


def cost_of(study: Study, weights: str) -> dict[str, Any]:
    """Number of pretrainings, and means of images, minutes and photos_per_s over them; None if unknown."""
    runs = [run for run in study.runs if run['weights'] == weights]
    found: dict[str, Any] = dict(runs=len(runs))
    for name in ('images', 'minutes', 'photos_per_s'):
        values = [float(run[name]) for run in runs if run.get(name)]
        found[name] = fmean(values) if values else None
    return found
