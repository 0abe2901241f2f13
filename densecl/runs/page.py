"""Writes one self-contained HTML page about one or several runs."""

import csv
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import densecl
from densecl.files import atomic_write, write_text
from densecl.settings.record import show_value

from .advice import Advice, advise
from .curves import curve_groups
from .figures import figure_table, markdown, rows_of
from .folder import RunFolder
from .page_facts import class_tables, data, guard_table, pilot_table, speed, tiles, trained, versions
from .page_pictures import BUDGET, embed, find_pictures

_TEXT_MOST = 200_000  # largest number of characters of all configs


def write_page(
    folders: Sequence[str | Path], out: str | Path | None = None, refresh: float | None = None
) -> Path:
    """Write one self-contained HTML page: settings, data, curves, pictures, figures, and what to do next.

    Args:
        folders: folders of the runs, finished or not; several are shown side by side.
        out: file; by default ``report.html`` in the folder of the first run.
        refresh: seconds after which a browser reloads the file, as long as a run has not ended.

    Returns:
        The file.

    Raises:
        FileNotFoundError: a folder is no run.
    """
    runs = [RunFolder(Path(folder)) for folder in folders]
    out = Path(out) if out else runs[0].folder / 'report.html'
    template = (Path(__file__).parent / 'page.html').read_text(encoding='utf-8')
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters['show'] = show_value
    text = environment.from_string(template).render(page_content(runs, refresh))
    return write_text(out, text, errors='replace')


def follow(folders: Sequence[str | Path], out: str | Path | None = None, every: float = 30) -> Path:
    """Write the page repeatedly until all runs have finished or have written nothing for half an hour.

    Args:
        folders, out: see :func:`write_page`.
        every: seconds between two pages.
    """
    try:
        while any(RunFolder(Path(folder)).state == 'running' for folder in folders):
            write_page(folders, out, refresh=every)
            time.sleep(every)
    finally:  # also after an interruption: a page that is no longer written must not reload itself
        written = write_page(folders, out)
    return written


def write_csv(folders: Sequence[str | Path], out: str | Path) -> Path:
    """Write all scalars of the logs as rows of run, name, iteration and value.

    Args:
        folders: of the runs.
        out: file.
    """
    runs = [RunFolder(Path(folder)) for folder in folders]
    with atomic_write(out) as temporary, open(temporary, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(('run', 'name', 'iteration', 'value'))
        for label, run in zip(labels(runs), runs, strict=True):
            writer.writerows((label, name, *xy) for name, points in run.scalars.items() for xy in points)
    return Path(out)


def write_markdown(folders: Sequence[str | Path], out: str | Path) -> Path:
    """Write the figures of runs as a Markdown table: a line per run, or per group of seeds with one name.

    Args:
        folders: of the runs.
        out: file.

    Raises:
        ValueError: no run has a figure.
    """
    runs = [RunFolder(Path(folder)) for folder in folders]
    rows = rows_of(runs, labels(runs))
    if not figure_table(rows):
        raise ValueError(
            f'{", ".join(map(str, folders))}: no figure on labelled images yet; densecl probe --out '
            'RUN/probe.json or densecl finetune makes some'
        )
    return write_text(out, markdown(rows))


def page_content(runs: Sequence[RunFolder], refresh: float | None = None) -> dict[str, Any]:
    """The content for the page's template; ``refresh`` as in :func:`write_page`."""
    names = labels(runs)
    found = [find_pictures(run.folder) for run in runs]
    budget = BUDGET / max(sum(map(len, found)), 1)
    embedded = [embed(run.folder, paths, budget) for run, paths in zip(runs, found, strict=True)]
    pictures: dict[str, list] = {}  # pictures of several runs with the same name are one row
    for name, (own, _) in zip(names, embedded, strict=True):
        for picture in own:
            key = picture.name if len(runs) > 1 else ''
            pictures.setdefault(key, []).append((name, picture))
    advice: dict[Advice, list[str]] = {}
    for name, run in zip(names, runs, strict=True):
        advice.setdefault(advise(run, len(runs) > 1), []).append(name)
    rows = rows_of(runs, names)
    parts = [
        dict(
            name=name,
            run=run,
            facts=trained(run),
            tiles=tiles(run),
            guard=guard_table(run),
            config=run.config_text[: _TEXT_MOST // len(runs)],
            versions=versions(run),
        )
        for name, run in zip(names, runs, strict=True)
    ]
    return dict(
        title=' · '.join(names) if len(names) < 4 else f'{len(names)} runs',
        refresh=max(1, round(refresh)) if refresh and 'running' in [run.state for run in runs] else None,
        written=time.strftime('%Y-%m-%d %H:%M'),
        version=densecl.__version__,
        names=names,
        parts=parts,
        advice=advice,
        trained=_side_by_side(part['facts'] for part in parts),
        data=_side_by_side(data(run) for run in runs),
        speed=_side_by_side(speed(run) for run in runs),
        differing=_differing(runs),
        groups=[
            (title, _safe(charts)) for title, charts in curve_groups(dict(zip(names, runs, strict=True)))
        ],
        pictures=list(pictures.values()),
        left_out=[name for _, missing in embedded for name in missing],
        figures=figure_table(rows),
        headings=[row.heading for row in rows],
        classes=[row for part in parts for row in class_tables(part['run'], part['name'], len(runs))],
        pilot=next((pilot_table(run) for run in runs if run.pilot), None),
    )


def labels(runs: Sequence[RunFolder]) -> list[str]:
    """A short name for each run: its folder's, with more parts of the path if names are equal."""
    paths = [run.folder.resolve().parts for run in runs]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ['/'.join(parts[-depth:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return [f'{parts[-1]} ({number})' for number, parts in enumerate(paths, 1)]


def _safe(charts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mark the SVG of charts as safe markup, as its texts are already escaped."""
    for one in charts:
        one['svg'] = Markup(one['svg'])
        one['legend'] = [(Markup(line), *more) for line, *more in one['legend']]
    return charts


def _side_by_side(columns: Iterable[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    """(name, its value in each column) rows; None if a column lacks the value."""
    columns = list(columns)
    rows = dict.fromkeys(name for column in columns for name in column)
    return [(name, [column.get(name) for column in columns]) for name in rows]


def _differing(runs: Sequence[RunFolder]) -> tuple[list[tuple[str, list[Any]]], int]:
    """Settings that differ between runs, and the number of equal settings."""
    rows = _side_by_side({s['name']: show_value(s.get('value')) for s in run.settings} for run in runs)
    differing = [row for row in rows if len(set(row[1])) > 1]
    return differing, len(rows) - len(differing)
