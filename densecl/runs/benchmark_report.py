"""The figures of a benchmark as CSV, as Markdown tables with paired differences, and as a plot."""

import csv
import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from densecl.files import write_text

from .benchmark import CELL, COUNTS, FIGURES
from .differences import Counts, Difference, Table, over_images, over_seeds, tables
from .intervals import interval, mean_sd
from .markdown import markdown_table

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


def read_rows(out: str | Path) -> list[dict[str, Any]]:
    """All measurements below a folder, one row per figure, sorted by task, weights and seed.

    Raises:
        FileNotFoundError: there are none.
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
            rows.append(row | facts | source | dict(counts=partial(_read_counts, file.parent, name)))
    if not rows:
        raise FileNotFoundError(f'{out}: no measurement in it')
    return sorted(rows, key=lambda row: (row['task'], row['figure'], row['weights'], row['seed']))


def markdown(found: Sequence[Table], against: str) -> str:
    """The tables, each with the differences from ``against``, bold if their 95 % interval excludes 0.

    A difference over seeds is paired by seed, with its t-interval, see :func:`.over_seeds`. A difference over
    images uses the same seeds, see :func:`~densecl.evaluation.bootstrap.miou_difference`.

    Raises:
        ValueError: no weights are called ``against``.
    """
    names = {name for table in found for name in table.values}
    if against not in names:
        raise ValueError(f'{against}: no figures of such weights; there are {", ".join(sorted(names))}')
    return '\n'.join(_markdown(table, against) for table in found)


def _markdown(table: Table, against: str) -> str:
    images = next(iter(next(iter(table.counts.values())).values()))() is not None
    seeds = sorted({seed for of_seed in table.values.values() for seed in of_seed})
    named = f'values (seed{"s" * (len(seeds) > 1)} {", ".join(map(str, seeds))})'
    heads = ['weights', named, 'mean ± sd', 'difference over seeds'] + ['difference over images'] * images
    lines = []
    for name, of_seed in table.values.items():
        listed = ', '.join(f'{of_seed[seed]:.1f}' if seed in of_seed else '–' for seed in seeds)
        cells = [name, listed, mean_sd(list(of_seed.values()))]
        for shown in (_over_seeds, _over_images)[: 1 + images]:
            cells.append('' if name == against else shown(table, against, name))
        lines.append(cells)
    return f'### {table.task}: {table.figure}\n\n{markdown_table(heads, lines)}\n'


def _not_measured(out: Path, names: Sequence[str]) -> str:
    """The cells of these weights (none given: of all) without figures: failed, or not measured yet."""
    found = []
    for path in sorted(out.glob(f'cells/*/*/{CELL}')):
        if not (path.parent / FIGURES).exists():
            cell, log = json.loads(path.read_text()), path.parent / 'output.log'
            seen = f'; see {log.relative_to(out)}' if log.exists() else ''
            if not names or cell['weights'] in names:
                found.append(f'- {cell["task"]}, {cell["weights"]}, seed {cell["seed"]}{seen}\n')
    return f'\n### Not measured\n\n{"".join(found)}' if found else ''


def _shown(difference: Difference | None) -> str:
    if difference is None:
        return 'no seed in common'
    found, over = difference.interval, difference.over
    if difference.fixed:
        return f'{found.mean:+.2f} (no seed changes it)'
    units = {'seeds': 'pair', 'pretrainings': 'pair of pretrainings', 'images': 'group'}
    if found.count == 1:
        return f'{found.mean:+.2f} (one {units[over]})'
    text = f'{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]'
    text = f'**{text}**' if found.low > 0 or found.high < 0 else text
    several = {'seeds': '', 'pretrainings': f' ({found.count} pairs of pretrainings)'}
    return text + several.get(over, f' ({found.count} groups)')


def _over_seeds(table: Table, one: str, two: str) -> str:
    return _shown(over_seeds(table, one, two))


def _over_images(table: Table, one: str, two: str) -> str:
    try:
        return _shown(over_images(table, one, two))
    except ValueError:
        return 'not the same images and labels'


def _read_counts(folder: Path, figure: str) -> Counts | None:
    if not (folder / COUNTS).is_file():
        return None
    import torch

    found = torch.load(folder / COUNTS, weights_only=True)
    return Counts(found[figure], found['groups'], found['names']) if figure in found else None


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """One line per figure, see ``COLUMNS``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def plot(found: Sequence[Table], path: Path) -> None:
    """Draw a panel per table: each seed as a point, mean and 95 % interval as a bar.

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
        out: output folder of :func:`~densecl.runs.benchmark.benchmark`.
        against: weights that the others are compared with; None: the first of ``order`` with figures.
        order: order of the rows.
    """
    out, rows = Path(out), read_rows(out)
    write_text(out / 'results.csv', as_csv(rows))
    found = tables(rows, order)
    text = markdown(found, against or next(iter(found[0].values))) + _not_measured(out, order)
    write_text(out / 'results.md', text)
    plot(found, out / 'results.png')
    return text
