"""The figures of a benchmark: CSV, tables in Markdown with the difference of pairs, and a plot."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from densecl.files import atomic_write

from .benchmark import CELL, COUNTS, FIGURES
from .intervals import Interval, interval, of_error

COLUMNS = (
    'task',
    'figure',
    'weights',
    'seed',
    'value',
    'seconds',
    'machine',
    'date',
    'commit',
    'file',
    'sha256',
)


@dataclass
class Table:
    """One figure of one task.

    Attributes:
        task, figure: names.
        values: weights -> seed -> value.
        folders: weights -> seed -> the folder of the cell.
        files: weights -> seed -> the file; random weights have one a seed.
    """

    task: str
    figure: str
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    folders: dict[str, dict[int, Path]] = field(default_factory=dict)
    files: dict[str, dict[int, str]] = field(default_factory=dict)

    def pairs(self, one: str, two: str) -> list[int]:
        """Seeds that both weights have."""
        return sorted(self.values.get(one, {}).keys() & self.values.get(two, {}).keys())


def read_rows(out: str | Path) -> list[dict[str, Any]]:
    """What was measured below a folder, a row a figure, by task, weights and seed.

    Raises:
        FileNotFoundError: nothing was.
    """
    rows = []
    for file in sorted(Path(out).glob(f'cells/*/*/{FIGURES}')):
        cell, found = json.loads((file.parent / CELL).read_text()), json.loads(file.read_text())
        facts = {name: value for name, value in found.items() if name != 'figures'}
        source = dict(file=cell['file'] or f'random:{cell["config"]}', sha256=cell['sha256'])
        for name, value in found['figures'].items():
            row = dict(
                task=cell['task'], figure=name, weights=cell['weights'], seed=cell['seed'], value=value
            )
            rows.append(row | facts | source | dict(folder=file.parent))
    if not rows:
        raise FileNotFoundError(f'{out}: no measurement in it')
    return sorted(rows, key=lambda row: (row['task'], row['figure'], row['weights'], row['seed']))


def tables(rows: Sequence[dict[str, Any]], order: Sequence[str] = ()) -> list[Table]:
    """A table a figure; weights in the given order, then by name."""
    found: dict[tuple[str, str], Table] = {}
    place = {name: number for number, name in enumerate(order)}
    for row in sorted(rows, key=lambda row: (place.get(row['weights'], len(place)), row['weights'])):
        key = row['task'], row['figure']
        table = found.setdefault(key, Table(*key))
        table.values.setdefault(row['weights'], {})[row['seed']] = row['value']
        table.folders.setdefault(row['weights'], {})[row['seed']] = row['folder']
        file = f'{row["file"]}:{row["seed"]}' if row['file'].startswith('random:') else row['file']
        table.files.setdefault(row['weights'], {})[row['seed']] = file
    return sorted(found.values(), key=lambda table: (table.task, table.figure))


def markdown(found: Sequence[Table], against: str) -> str:
    """The tables, each with the differences from ``against``, bold where their 95 % interval leaves out 0.

    A difference over seeds is that of pairs of one seed, with its t-interval; seeds that share one of several
    pretrainings count as one pair, their mean. One over images is that of the same seeds, see
    :func:`~densecl.evaluation.bootstrap.miou_difference`.

    Raises:
        ValueError: nothing is called ``against``.
    """
    names = {name for table in found for name in table.values}
    if against not in names:
        raise ValueError(f'{against}: no figures of such weights; there are {", ".join(sorted(names))}')
    return '\n'.join(_markdown(table, against) for table in found)


def _markdown(table: Table, against: str) -> str:
    images = _has_counts(table)
    heads = ['weights', 'values', 'mean ± sd', 'difference over seeds'] + ['difference over images'] * images
    lines = [
        f'### {table.task}: {table.figure}\n',
        '| ' + ' | '.join(heads) + ' |',
        '|---' * len(heads) + '|',
    ]
    for name, of_seed in table.values.items():
        values = [of_seed[seed] for seed in sorted(of_seed)]
        spread = f' ± {stdev(values):.2f}' if len(values) > 1 else ''
        listed = ', '.join(f'{value:.1f}' for value in values)
        cells = [name.replace('|', '\\|'), listed, f'{fmean(values):.2f}{spread}']
        for difference in (_over_seeds, _over_images)[: 1 + images]:
            cells.append('' if name == against else difference(table, against, name))
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def _over_seeds(table: Table, one: str, two: str) -> str:
    seeds = table.pairs(one, two)
    if not seeds:
        return 'no seed in common'
    pairs: dict[tuple, list[float]] = {}
    several = any(len({table.files[name][seed] for seed in seeds}) > 1 for name in (one, two))
    for seed in seeds:
        pair = tuple(table.files[name][seed] for name in (one, two)) if several else (seed,)
        pairs.setdefault(pair, []).append(table.values[two][seed] - table.values[one][seed])
    differences = [fmean(values) for values in pairs.values()]
    if len(seeds) > 1 and all(len(set(table.values[name].values())) == 1 for name in (one, two)):
        return f'{differences[0]:+.2f} (no seed changes it)'
    return _shown(interval(differences), 'pair' if len(pairs) == len(seeds) else 'pair of pretrainings')


def _shown(found: Interval, what: str) -> str:
    if found.count == 1:
        return f'{found.mean:+.2f} (one {what})'
    text = f'{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]'
    text = f'**{text}**' if found.low > 0 or found.high < 0 else text
    return text if what == 'pair' else f'{text} ({found.count} {what.replace("pair ", "pairs ", 1)})'


def _has_counts(table: Table) -> bool:
    folder = next(iter(next(iter(table.folders.values())).values()))
    return (folder / COUNTS).is_file() and table.figure in _counts(folder)


def _counts(folder: Path) -> dict[str, Any]:
    import torch

    return torch.load(folder / COUNTS, weights_only=True)


def _over_images(table: Table, one: str, two: str) -> str:
    from densecl.evaluation.bootstrap import miou_difference

    seeds = table.pairs(one, two)
    if not seeds:
        return 'no seed in common'
    sides = [[_counts(table.folders[name][seed]) for seed in seeds] for name in (one, two)]
    if any(each['names'] != sides[0][0]['names'] for side in sides for each in side):
        return 'not the same images'
    counts = [[each[table.figure] for each in side] for side in sides]
    found = miou_difference(*counts, groups=sides[0][0]['groups'])
    return _shown(of_error(found.mean, found.error, found.groups), 'groups')


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """A line a figure, see ``COLUMNS``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def plot(found: Sequence[Table], path: Path) -> None:
    """A panel a table: each seed as a point, mean and 95 % interval as a bar.

    Raises:
        ImportError: matplotlib is missing.
    """
    from matplotlib.figure import Figure

    across = min(4, len(found))
    down = -(-len(found) // across)
    rows = max(len(table.values) for table in found)
    figure = Figure(figsize=(3.4 * across, (0.8 + 0.28 * rows) * down), layout='constrained')
    panels = figure.subplots(down, across, squeeze=False).flat
    for number, panel in enumerate(panels):
        if number >= len(found):
            panel.set_visible(False)
            continue
        table = found[number]
        for y, of_seed in enumerate(table.values.values()):
            values = list(of_seed.values())
            each = interval(values)
            half = each.half if len(values) > 1 else 0
            panel.errorbar(each.mean, y, xerr=half, fmt='o', capsize=3, color='black', markersize=4)
            panel.plot(values, [y + 0.2] * len(values), '.', color='gray', markersize=4)
        panel.set_yticks(range(len(table.values)), list(table.values) if number % across == 0 else [])
        panel.set_ylim(len(table.values) - 0.5, -0.5)
        panel.set_title(f'{table.task}: {table.figure}', fontsize=9)
        panel.grid(axis='x', alpha=0.3)
    figure.savefig(path, dpi=130)


def write(out: str | Path, against: str | None = None, order: Sequence[str] = ()) -> str:
    """Write ``results.csv``, ``results.md`` and ``results.png`` into the folder; return the Markdown.

    Args:
        out: of :func:`~densecl.runs.benchmark.benchmark`.
        against: weights from which differences are taken; the first of ``order`` that have figures if None.
        order: of the rows.
    """
    out, rows = Path(out), read_rows(out)
    found = tables(rows, order)
    text = markdown(found, against or next(iter(found[0].values)))
    for name, content in (('results.csv', as_csv(rows)), ('results.md', text)):
        with atomic_write(out / name) as temporary:
            Path(temporary).write_text(content)
    plot(found, out / 'results.png')
    return text
