"""Facts and tables of a run for its page."""

import math
import statistics
from itertools import zip_longest
from typing import Any

from .folder import RunFolder

_VERDICTS = {
    'same': 'no damage seen',
    'better': 'better than the start',
    'warn': 'lower than the start, within chance',
    'refuse': 'dense quality has fallen',
}


def trained(run: RunFolder) -> dict[str, Any]:
    """Kind, method, start, licence, steps and command, as far as they are known."""
    start = run.start_record
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


def data(run: RunFolder) -> dict[str, Any]:
    """Photos, their hash, and the guard's images."""
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


def versions(run: RunFolder) -> list[tuple[str, Any]]:
    """Name and version of the manifest."""
    record = run.manifest.get('versions')
    return list(record.items()) if isinstance(record, dict) else []


def _finite(run: RunFolder, name: str) -> list[float]:
    return [y for _, y in run.scalars.get(name, ()) if math.isfinite(y)]


def speed(run: RunFolder) -> dict[str, Any]:
    """Medians of throughput (images / s), wait for data (%) and time (s / step)."""
    units = {'images_per_s': ('images / s', 1), 'data_wait': ('wait for data (% of the time)', 100)}
    units |= {'time': ('time (s / step)', 1)}
    return {
        f'{label}, median': f'{statistics.median(values) * factor:.3g}'
        for name, (label, factor) in units.items()
        if (values := _finite(run, name))
    }


def tiles(run: RunFolder) -> list[tuple[str, str, str]]:
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


def guard_table(run: RunFolder) -> dict[str, Any] | None:
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


def class_tables(run: RunFolder, label: str, many: int) -> list[dict[str, Any]]:
    """Intersection over union of each class, one table per probe."""
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


def pilot_table(run: RunFolder) -> dict[str, Any] | None:
    """Rows of kind, figures of each arm and gain, and the sentence."""
    from .pilot import ARMS, Record, differences, figures_of, verdict

    try:
        record = Record.open(run.pilot)
        arms = tuple(arm for arm in ARMS if any(f['arm'] == arm for f in record.figures))
        gains = differences(record, arms) if len(arms) > 1 else {}
        rows = [(kind, figures_of(record, arms, kind), str(gains.get(kind, '–'))) for kind in record.kinds]
    except (KeyError, TypeError, AttributeError):  # a file of another kind, or cut off
        return None
    return dict(arms=arms, rows=rows, told=verdict(gains) if gains else 'not finished yet')
