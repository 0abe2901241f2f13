"""The tables, sentences and curves of a study, for the documentation."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from .differences import Difference, Table
from .intervals import mean_sd
from .markdown import markdown_table
from .study import CURVES, FIGURES, RUNS, STUDY, Comparison, Study, cost_of, read_csv

Comparisons = Mapping[tuple[str, str, str], Comparison]
_OVER = {'seeds': ' s', 'images': ' i', 'both': ''}


def full(study: Study, folder: str, picture: str | None) -> str:
    """The full text: figures with their cost, differences, their meaning, curves, and sources.

    Args:
        study: result of :func:`~.study.read_study`.
        folder: link to its files.
        picture: link to its curves, if it has some.
    """
    found = study.compare()
    parts = [f'### {study.title}', study.about, _figures(study)]
    parts.append(
        f'Means ± standard deviation over the seeds{_seeds(study.tables)}. Images, minutes (of training '
        'steps alone) and photos/s are those of one pretraining.'
    )
    parts += [_signs(study, found), _legend(study, found)]
    for one in study.against:
        parts.append(f'<details><summary>Every difference from {one}, with its interval</summary>')
        parts += [_differences(study, found, one), '</details>']
    if picture:
        parts.append(f'![Quality and label-free meters against images seen]({picture})')
    parts.append(_sources(study, folder))
    return '\n\n'.join(parts)


def short(study: Study) -> str:
    """One table of means and their differences from the first two of ``against``, and how to read it."""
    found, chosen = study.compare(), [column for column in study.columns if column.short]
    heads = ['', 'weights', *(column.title for column in chosen)]
    lines = []
    for kind, name in _rows(study, study.only_full):
        cells = []
        for column, table in zip(study.columns, study.tables, strict=True):
            if column in chosen:
                cells.append(_short_cell(study, found, column.title, table, name))
        lines.append([kind, name, *cells])
    bases = ' and from '.join(_of_short(study))
    return '\n\n'.join(
        [
            study.about,
            markdown_table(heads, lines),
            f'Mean over seeds, in brackets the difference from {bases}. {_bold(found)} {_single(study)}',
        ]
    )


def _short_cell(study: Study, found: Comparisons, title: str, table: Table, name: str) -> str:
    if name not in table.values:
        return '–'
    differences = [_short_difference(found.get((title, one, name))) for one in _of_short(study)]
    bracket = f' ({", ".join(differences)})' if set(differences) != {'–'} else ''
    return f'{fmean(table.values[name].values()):.1f}{bracket}'


def _of_short(study: Study) -> list[str]:
    """The weights that the short table compares with; more would not fit into a cell."""
    return study.against[:2]


def _short_difference(found: Comparison | None) -> str:
    if found is None or found.difference is None:
        return '–'
    text = f'{found.difference.interval.mean:+.1f}'
    return f'**{text}**' if found.holds else text


def _figures(study: Study) -> str:
    heads = ['', 'weights', 'pretrainings', 'images seen', 'minutes', 'photos/s']
    same = bool(_seeds(study.tables))
    for column, table in zip(study.columns, study.tables, strict=True):
        heads.append(column.title if same else column.title + _seeds([table]))
    lines = []
    for kind, name in _rows(study):
        cost = cost_of(study, name)
        cells = [str(_pretrainings(study, name) or '–')]
        for key, form in (('images', ',.0f'), ('minutes', '.1f'), ('photos_per_s', ',.0f')):
            cells.append('–' if cost[key] is None else format(cost[key], form))
        for table in study.tables:
            values = list(table.values.get(name, {}).values())
            cells.append(mean_sd(values) if values else '–')
        lines.append([kind, name, *cells])
    return markdown_table(heads, lines)


def _seeds(tables: Sequence[Table]) -> str:
    """Number of seeds in brackets; empty if it differs between tables."""
    lengths = [[len(each) for each in table.values.values()] for table in tables]
    if len({(min(each), max(each)) for each in lengths}) > 1:
        return ''
    few, many = min(lengths[0]), max(lengths[0])
    return f' ({few} seed{"s" * (few > 1)})' if few == many else f' ({few} to {many} seeds)'


def _pretrainings(study: Study, name: str) -> int:
    files = {row['file'] for row in study.figures if row['weights'] == name}
    return len({file for file in files if not file.startswith('random:')})


def _rows(study: Study, left_out: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(kind, weights) rows; a repeated kind is empty."""
    shown = {kind: [name for name in names if name not in left_out] for kind, names in study.rows.items()}
    return [(kind if not i else '', name) for kind, names in shown.items() for i, name in enumerate(names)]


def _signs(study: Study, found: Comparisons) -> str:
    """What holds, at a glance: one sign for each of ``against`` in a cell."""

    def cell(title: str, name: str) -> str:
        return ' '.join(_sign(found.get((title, one, name))) for one in study.against)

    return (
        f'What holds, beside {", ".join(study.against)} in this order: ▲ above, ▼ below, · not told apart, '
        f'? not tested, – nothing to compare.\n\n{_by_column(study, cell)}'
    )


def _sign(found: Comparison | None) -> str:
    if found is None or found.difference is None:
        return '–'
    if found.p_value is None:
        return '?'
    if not found.holds:
        return '·'
    return '▲' if found.difference.interval.mean > 0 else '▼'


def _differences(study: Study, found: Comparisons, one: str) -> str:
    return _by_column(study, lambda title, name: _difference_cell(found.get((title, one, name))))


def _by_column(study: Study, cell: Callable[[str, str], str]) -> str:
    """A table of ``cell(title of the column, weights)``, without the rows that have nothing to compare."""
    lines = []
    for kind, names in study.rows.items():
        for name in names:
            cells = [cell(column.title, name) for column in study.columns]
            if any(set(each) - set('– ') for each in cells):
                lines.append([kind, name, *cells])
                kind = ''
    return markdown_table(['', 'weights', *(column.title for column in study.columns)], lines)


def _difference_cell(found: Comparison | None) -> str:
    if found is None or found.difference is None:
        return '–'
    each = found.difference.interval
    if not found.difference.tested:
        return f'{each.mean:+.2f} (not tested)'
    text = f'{each.mean:+.2f} [{each.low:+.2f}, {each.high:+.2f}]'
    return (f'**{text}**' if found.holds else text) + _OVER[found.difference.over]


def _legend(study: Study, found: Comparisons) -> str:
    used = {each.difference.over for each in found.values() if _tested(each.difference)}
    said = {
        'both': 'over seeds and groups of test images together',
        'seeds': 's: over seeds alone',
        'images': 'i: over groups of test images alone, where seeds tell no spread',
    }
    over = '; '.join(text for name, text in said.items() if name in used)
    alone = sum(each.p_value is not None and each.p_value <= 0.05 for each in found.values())
    held = sum(each.holds for each in found.values())
    return (
        f'95 % intervals, {over}. Seeds are paired, and their spread is that of all rows of the column. '
        f'{_bold(found)} Each by itself {alone} would be told apart from 0, among all {held} are. '
        f'{_single(study)}'
    )


def _bold(found: Comparisons) -> str:
    tested = sum(_tested(each.difference) for each in found.values())
    return (
        'Bold is a difference that holds: of those in bold at most 5 % are expected to be none, '
        f'with all {tested} of this study taken together (Benjamini and Hochberg).'
    )


def _single(study: Study) -> str:
    counts = [_pretrainings(study, name) for name in study.weights]
    one, some = counts.count(1), sum(count > 0 for count in counts)
    if not one:
        return ''
    return (
        f'Seeds of one pretraining say nothing of another one, and {one} of the {some} pretrained rows are '
        'of one.'
    )


def _tested(difference: Difference | None) -> bool:
    return difference is not None and difference.tested


def _sources(study: Study, folder: str) -> str:
    rows = [*study.figures, *study.runs]
    by_machine: dict[str, set[str]] = {}
    for row in rows:
        by_machine.setdefault(row.get('machine') or 'a machine not noted', set()).add(row.get('date') or '')
    machines = '; '.join(
        f'{machine}, {" to ".join(dict.fromkeys((min(dates), max(dates))))}'
        for machine, dates in sorted(by_machine.items())
    )
    commits = ', '.join(sorted({row['commit'] for row in rows if row.get('commit')})) or 'not noted'
    files = [FIGURES] + [RUNS] * bool(study.runs) + [CURVES] * bool(study.points) + [STUDY]
    links = ', '.join(f'[{name}]({folder}/{name})' for name in files)
    return f'Measured on {machines}; commits {commits}. Each figure, run and command: {links}.'


def published(path: Path) -> str:
    """The table of ``published.csv``, whose last column is the source."""
    rows = read_csv(path)
    if not rows:
        raise FileNotFoundError(f'{path} is missing or empty')
    heads = list(rows[0])
    sources = list(dict.fromkeys(row['source'] for row in rows))
    lines = [
        [row[head] or '–' for head in heads[:-1]] + [f'[{sources.index(row["source"]) + 1}]'] for row in rows
    ]
    listed = '. '.join(f'[{number}] {source}' for number, source in enumerate(sources, 1))
    return f'{markdown_table(heads, lines)}\n\n{listed}.'


def draw_curves(study: Study, path: Path) -> None:
    """Draw a panel per figure of ``curves``: mean over seeds against images seen; each seed is a thin line.

    The picture file has a digest of its content, see :func:`shows`.

    Raises:
        ValueError: ``curves.csv`` has no such figure.
    """
    from matplotlib.figure import Figure

    panels = list(study.curves.items())
    figure = Figure(figsize=(3.6 * len(panels), 3.1), layout='constrained')
    axes = figure.subplots(1, len(panels), squeeze=False).flat
    names = list(dict.fromkeys(row['weights'] for row in study.points))
    names.sort(key=lambda name: study.weights.index(name) if name in study.weights else len(study.weights))
    for panel, (title, wanted) in zip(axes, panels, strict=True):
        curves = _curves(study, wanted)
        for number, name in enumerate(names):
            colour = f'C{number}'
            for points in curves.get(name, {}).values():
                panel.plot(*zip(*sorted(points.items()), strict=True), color=colour, linewidth=0.6, alpha=0.5)
            mean = _mean_curve(list(curves.get(name, {}).values()))
            panel.plot(*zip(*mean, strict=True) if mean else ([], []), color=colour, marker='.', label=name)
        panel.set_title(title, fontsize=9)
        panel.set_xlabel('images seen (thousands)', fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
    figure.legend(*panel.get_legend_handles_labels(), loc='outside lower center', ncols=5, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, metadata={'Description': digest(study)})


def _curves(study: Study, wanted: str) -> dict[str, dict[str, dict[float, float]]]:
    """Weights -> run -> thousands of images -> value."""
    found: dict[str, dict[str, dict[float, float]]] = {}
    for row in study.points:
        if row['figure'] == wanted:
            points = found.setdefault(row['weights'], {}).setdefault(row['run'], {})
            points[float(row['images']) / 1000] = float(row['value'])
    if not found:
        known = ', '.join(sorted({row['figure'] for row in study.points})) or 'none'
        raise ValueError(f'{study.name}/{CURVES} has no figure {wanted}; it has {known}')
    return found


def _mean_curve(curves: Sequence[dict[float, float]]) -> list[tuple[float, float]]:
    """Mean at the positions that all seeds have."""
    shared = set.intersection(*map(set, curves)) if curves else set()
    return [(x, fmean(curve[x] for curve in curves)) for x in sorted(shared)]


def digest(study: Study) -> str:
    """A digest of everything that the picture of the curves shows."""
    shown = [[row[key] for key in ('weights', 'run', 'images', 'figure', 'value')] for row in study.points]
    return hashlib.sha256(repr((study.curves, study.weights, shown)).encode()).hexdigest()[:16]


def shows(path: Path) -> str:
    """The digest in a picture file; empty if there is none."""
    from PIL import Image

    if not path.is_file():
        return ''
    with Image.open(path) as image:
        return image.info.get('Description', '')
