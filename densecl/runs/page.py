"""One HTML page of one or several runs, with everything in it."""

import csv
import math
import statistics
import time
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import densecl
from densecl.files import atomic_write
from densecl.settings.record import show_value

from .advice import Advice, advise
from .curves import curve_groups
from .folder import RunFolder
from .page_pictures import BUDGET, embed, find_pictures

_TEXT_MOST = 200_000  # characters of all configs
_VERDICTS = {
    'same': 'no damage seen',
    'better': 'better than the start',
    'warn': 'lower than the start, within chance',
    'refuse': 'dense quality has fallen',
}


def write_page(
    folders: Sequence[str | Path], out: str | Path | None = None, refresh: float | None = None
) -> Path:
    """Write one self-contained HTML page: settings, data, curves, pictures, figures, and what to do next.

    Args:
        folders: of the runs, finished or not; several are put side by side.
        out: file; default ``report.html`` in the folder of the first run.
        refresh: seconds after which a browser reads the file again; not once all runs have ended.

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
    with atomic_write(out) as temporary:
        text = environment.from_string(template).render(page_content(runs, refresh))
        Path(temporary).write_text(text, encoding='utf-8', errors='replace')
    return out


def follow(folders: Sequence[str | Path], out: str | Path | None = None, every: float = 30) -> Path:
    """Write the page again and again until all runs have ended, by themselves or after half an hour idle.

    Args:
        folders, out: see :func:`write_page`.
        every: seconds in between.
    """
    try:
        while any(RunFolder(Path(folder)).state == 'running' for folder in folders):
            write_page(folders, out, refresh=every)
            time.sleep(every)
    finally:  # also when it is interrupted: a page that nobody writes must not read itself again
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


def page_content(runs: Sequence[RunFolder], refresh: float | None = None) -> dict[str, Any]:
    """What the template shows of runs; ``refresh`` as in :func:`write_page`."""
    names = labels(runs)
    found = [find_pictures(run.folder) for run in runs]
    budget = BUDGET / max(sum(map(len, found)), 1)
    embedded = [embed(run.folder, paths, budget) for run, paths in zip(runs, found, strict=True)]
    pictures: dict[str, list] = {}  # a name that several runs have is a row
    for name, (own, _) in zip(names, embedded, strict=True):
        for picture in own:
            key = picture.name if len(runs) > 1 else ''
            pictures.setdefault(key, []).append((name, picture))
    advice: dict[Advice, list[str]] = {}
    for name, run in zip(names, runs, strict=True):
        advice.setdefault(advise(run, len(runs) > 1), []).append(name)
    parts = [
        dict(
            name=name,
            run=run,
            facts=_trained(run),
            tiles=_tiles(run),
            guard=_guard(run),
            config=run.config_text[: _TEXT_MOST // len(runs)],
            versions=_shown(run.manifest.get('versions')),
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
        data=_side_by_side(_data(run) for run in runs),
        speed=_side_by_side(_speed(run) for run in runs),
        differing=_differing(runs),
        groups=[
            (title, _safe(charts)) for title, charts in curve_groups(dict(zip(names, runs, strict=True)))
        ],
        pictures=list(pictures.values()),
        left_out=[name for _, missing in embedded for name in missing],
        figures=_side_by_side(_figures(run) for run in runs),
        classes=[row for part in parts for row in _classes(part['run'], part['name'], len(runs))],
        pilot=next((_pilot(run) for run in runs if run.pilot), None),
    )


def labels(runs: Sequence[RunFolder]) -> list[str]:
    """A short name for each run: of its folder, with as many folders above as tell them apart."""
    paths = [run.folder.resolve().parts for run in runs]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ['/'.join(parts[-depth:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return [f'{parts[-1]} ({number})' for number, parts in enumerate(paths, 1)]


def _safe(charts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The SVG of charts, which escapes its own texts, as markup."""
    for one in charts:
        one['svg'] = Markup(one['svg'])
        one['legend'] = [(Markup(line), *more) for line, *more in one['legend']]
    return charts


def _side_by_side(columns: Iterable[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Rows of a name and its value in each column; a value that a column lacks is None."""
    columns = list(columns)
    rows = dict.fromkeys(name for column in columns for name in column)
    return [(name, [column.get(name) for column in columns]) for name in rows]


def _differing(runs: Sequence[RunFolder]) -> tuple[list[tuple[str, list[Any]]], int]:
    """Settings that differ between runs, and how many are the same."""
    rows = _side_by_side({s['name']: show_value(s.get('value')) for s in run.settings} for run in runs)
    differing = [row for row in rows if len(set(row[1])) > 1]
    return differing, len(rows) - len(differing)


def _trained(run: RunFolder) -> dict[str, Any]:
    start = run.start
    first = (run.config_text.lstrip('"\n').splitlines() or [''])[0] if run.kind == 'fine-tuning' else ''
    done, total = run.steps
    command = run.manifest.get('command') or []
    facts = {
        'kind': run.kind,
        'method' if run.kind == 'pretraining' else 'model': run.method,
        'what': first if first.endswith('.') else None,
        'start': start.get('name'),
        'origin of the start': start.get('origin'),
        'licence of the start': (start.get('licence') or 'not known') if start else 'not recorded',
        'sha256 of the start': start.get('sha256'),
        'steps': f'{done:,} of {total:,}' if total else f'{done:,}' if done else None,
        'command': ' '.join(['densecl', *map(str, command[1:])]) if command else None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _data(run: RunFolder) -> dict[str, Any]:
    photos = run.manifest.get('photos')
    photos = photos if isinstance(photos, dict) else {}
    facts = {
        'photos': f'{photos["count"]:,}' if isinstance(photos.get('count'), int) else None,
        'size (MB)': f'{photos["bytes"] / 1e6:,.1f}' if isinstance(photos.get('bytes'), int) else None,
        'sha256 of the list of photos': photos.get('sha256'),
        'hashed': photos.get('hashed'),
        'measured by the guard on': f'{run.guard["photos"]} photos' if run.guard.get('photos') else None,
        'labelled images of the guard': run.guard.get('labelled'),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _shown(record: Any) -> list[tuple[str, Any]]:
    return list(record.items()) if isinstance(record, dict) else []


def _finite(run: RunFolder, name: str) -> list[float]:
    return [y for _, y in run.scalars.get(name, ()) if math.isfinite(y)]


def _speed(run: RunFolder) -> dict[str, Any]:
    units = {'images_per_s': ('images / s', 1), 'data_wait': ('wait for data (% of the time)', 100)}
    units |= {'time': ('time (s / step)', 1)}
    return {
        f'{label}, median': f'{statistics.median(values) * factor:.3g}'
        for name, (label, factor) in units.items()
        if (values := _finite(run, name))
    }


def _tiles(run: RunFolder) -> list[tuple[str, str, str]]:
    """Label, value and a small line below it."""
    done, total = run.steps
    tiles = [('State', run.state, f'{done:,} of {total:,} steps' if total else f'{done:,} steps')]
    if loss := _finite(run, 'loss'):
        tiles.append(('Loss', _signed(loss[-1]), f'began at {_signed(loss[0])}'))
    if run.guard:
        verdict = str(run.guard.get('verdict', 'unknown'))
        tiles.append(('Guard', verdict, _VERDICTS.get(verdict, '')))
    tiles += [(name, f'{value:.1f} %', 'fine-tuned') for name, value in list(run.metrics.items())[:2]]
    if speed := _finite(run, 'images_per_s'):
        wait = _finite(run, 'data_wait')
        idle = f'; {statistics.median(wait):.0%} of the time waits for data' if wait else ''
        tiles.append(('Throughput', f'{statistics.median(speed):.3g}', f'images / s{idle}'))
    elif seconds := _finite(run, 'time'):
        tiles.append(('Speed', f'{statistics.median(seconds):.3g}', 's / step'))
    return tiles


def _guard(run: RunFolder) -> dict[str, Any] | None:
    """Head and rows of the table of the guard's measurements."""
    rows = [row for kind in ('measurements', 'averages') for row in run.guard.get(kind) or ()]
    rows = [row for row in rows if isinstance(row, dict)]
    if not rows:
        return None
    probes = list(dict.fromkeys(name for row in rows for name in row.get('miou') or {}))
    signals = list(dict.fromkeys(name for row in rows for name in row.get('signals') or {}))

    def cells(row: dict[str, Any]) -> list[tuple[str, bool]]:
        fallen = row.get('fallen') or ()
        miou = [(_number((row.get('miou') or {}).get(name), 2), False) for name in probes]
        values = [((row.get('signals') or {}).get(name) or {}).get('value') for name in signals]
        return miou + [(_number(v, 3), name in fallen) for name, v in zip(signals, values, strict=True)]

    head = [f'{name}, mIoU (%)' for name in probes] + signals
    chosen = run.guard.get('chosen')
    body = [(r.get('name'), r.get('verdict'), r.get('name') == chosen, cells(r)) for r in rows]
    return dict(head=head, rows=body, told=run.guard.get('told'), sentence=run.guard.get('sentence'))


def _signed(value: float) -> str:
    return f'{value:.4g}'.replace('-', '−')


def _number(value: Any, digits: int) -> str:
    return f'{value:.{digits}f}' if isinstance(value, (int, float)) and math.isfinite(value) else '–'


def _figures(run: RunFolder) -> dict[str, str]:
    """Labelled figures: frozen probes, gains over the start, fine-tuning, the guard's probes, validation."""
    found: dict[str, str] = {}
    for name, probe in run.probes.items():
        for kind in ('linear', 'retrieval'):
            mean = _mean(probe, kind)
            before = _mean(run.probes.get(f'{name}_start', {}), kind)
            if mean is not None:
                found[f'{name}: {kind}, mIoU (%)'] = f'{mean:.1f}'
            if mean is not None and before is not None:
                found[f'{name}: {kind}, gain over the start (points)'] = f'{mean - before:+.1f}'
    found |= {f'fine-tuned: {name} (%)': f'{value:.1f}' for name, value in run.metrics.items()}
    for name, points in run.scalars.items():
        if name.startswith('guard/') and name.endswith('_miou'):
            found[f'guard: {name[6:-5]}, last, mIoU (%)'] = _number(points[-1][1], 1)
        elif ('/' in name and not name.startswith('guard/')) or name in ('mIoU', 'mAcc', 'aAcc'):
            found[f'validation: {name}, last'] = f'{points[-1][1]:.4g}'
    return found


def _mean(probe: dict[str, Any], kind: str) -> float | None:
    value = probe.get(kind)
    value = value.get('mean') if isinstance(value, dict) else None
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def _classes(run: RunFolder, label: str, many: int) -> list[dict[str, Any]]:
    """Intersection over union of each class, a table a probe."""
    tables = []
    for name, probe in run.probes.items():
        kinds = [kind for kind in ('linear', 'retrieval') if isinstance(probe.get(kind), dict)]
        columns = [probe[kind].get('per_class') or [] for kind in kinds]
        names = [str(c) for c in probe.get('classes') or range(max(map(len, columns), default=0))]
        values = zip_longest(*columns, fillvalue=None)
        rows = [(c, [_number(v, 1) for v in row]) for c, row in zip(names, values, strict=False)]
        learnt, scored = probe.get('train_images', '?'), probe.get('test_images', '?')
        about = f'{learnt} images to learn from, {scored} to score on'
        title = f'{label}, {name}' if many > 1 else name
        tables.append(dict(title=title, kinds=kinds, rows=rows, about=about))
    return tables


def _pilot(run: RunFolder) -> dict[str, Any] | None:
    """Rows of kind, figures of each arm and gain, and the sentence."""
    from .intervals import interval
    from .pilot import ARMS, Record, differences, verdict

    try:
        record = Record.open(run.pilot)
        arms = tuple(arm for arm in ARMS if any(f['arm'] == arm for f in record.figures))
        gains = differences(record, arms) if len(arms) > 1 else {}
        values = {kind: [list(record.values(arm, kind).values()) for arm in arms] for kind in record.kinds}
    except (KeyError, TypeError, AttributeError):  # of another kind, or cut off
        return None
    rows = [
        (k, [str(interval(v)) if v else '–' for v in vs], str(gains.get(k, '–'))) for k, vs in values.items()
    ]
    return dict(arms=arms, rows=rows, told=verdict(gains) if gains else 'not finished yet')
