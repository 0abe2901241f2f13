"""Chooses the scalars of a log that are drawn, with their titles and units."""

import math
from typing import Any

from .chart import chart, swatch
from .folder import RunFolder

_ACROSS = 'iteration (steps)'
_LARGEST = 1e30  # a larger loss has diverged and is drawn as infinite
# Name or its end -> title (None: the name itself), unit, factor.
_UNITS: dict[str, tuple[str | None, str, float]] = {
    'loss': ('Loss', 'no unit', 1),
    'lr': ('Learning rate, first group', 'no unit', 1),
    'base_lr': ('Learning rate, base', 'no unit', 1),
    'grad_norm': ('Norm of the gradient', 'no unit', 1),
    'images_per_s': ('Throughput', 'images / s', 1),
    'data_wait': ('Wait for data', '% of the time', 100),
    'time': ('Time', 's / step', 1),
    'data_time': ('Time of loading', 's / step', 1),
    'memory': ('Memory', 'MB', 1),
    'guard/correspondence': ('Correspondence', 'share, 0 to 1', 1),
    'guard/photometric': ('Correspondence under colour', 'share, 0 to 1', 1),
    'guard/positional': ('Matched by position (lower is better)', 'share, 0 to 1', 1),
    'guard/dse': ('Dense structure (DSE)', 'no unit', 1),
    'guard/cka': ('Likeness to the start (CKA)', '0 to 1', 1),
    'guard/labels': ('Labels of the start found', 'share, 0 to 1', 1),
    'acc': (None, '%', 1),
    '_miou': (None, 'mIoU (%)', 1),
    '_corloc': (None, 'CorLoc (%)', 1),
    '_acc': (None, 'accuracy (%)', 1),
    'mIoU': (None, '%', 1),
    'mAP': (None, 'AP, 0 to 1', 1),
    '_rank': (None, 'dimensions', 1),
    '_vendi': (None, 'different embeddings', 1),
    '_groups': (None, 'groups', 1),
    '_sim': (None, 'cosine, −1 to 1', 1),
    '_queue_age': (None, 'steps', 1),
}
_LOSS, _GUARD = 'Losses and learning rate', 'Dense quality'
_GROUPS = (_LOSS, _GUARD, 'Validation', 'Throughput', 'Features and gradient')
_SPEED = ('images_per_s', 'data_wait', 'time', 'data_time', 'memory')


def curve_groups(runs: dict[str, RunFolder]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Charts in groups: one chart per scalar, one curve per run.

    Args:
        runs: label -> run.

    Returns:
        For each group its title and its charts. A chart has ``name``, ``title``, ``svg``, ``legend`` (swatch,
        label, summary of the curve), ``note`` and ``band``: whether the start is shaded. Scalars with fewer
        than two values in every run are left out.
    """
    known = dict.fromkeys(name for run in runs.values() for name in run.scalars)
    names = sorted(known, key=lambda name: (name in ('lr', 'base_lr'), name != 'loss'))
    groups: dict[str, list[dict[str, Any]]] = {title: [] for title in _GROUPS}
    for name in names:
        several = any(len(run.scalars.get(name, ())) > 1 for run in runs.values())
        if several and not _repeats(name, runs):
            drawn = _drawn(name, runs)
            groups[_group(name)] += [drawn] if drawn else []
    return [(title, charts) for title, charts in groups.items() if charts]


def _group(name: str) -> str:
    if name.startswith('loss') or name in ('lr', 'base_lr'):
        return _LOSS
    if name.startswith('guard/'):
        return _GUARD
    if name in _SPEED:
        return 'Throughput'
    return 'Validation' if '/' in name or name in ('mIoU', 'aAcc', 'mAcc') else 'Features and gradient'


def _repeats(name: str, runs: dict[str, RunFolder]) -> bool:
    """Whether a chart has the same content as another one: the only loss of several names, or data_time."""
    if name == 'data_time':
        return all('data_wait' in run.scalars for run in runs.values())
    if not name.startswith('loss_'):
        return False
    return all(run.scalars.get(name) in (None, run.scalars.get('loss')) for run in runs.values())


def _unit(name: str) -> tuple[str | None, str, float]:
    endings = [key for key in _UNITS if key.startswith(('_', 'm')) and key in name.split('/')[-1]]
    known = _UNITS[endings[0]] if endings and not name.startswith('loss') else None
    return _UNITS.get(name) or known or (None, 'no unit', 1)


def _drawn(name: str, runs: dict[str, RunFolder]) -> dict[str, Any] | None:
    title, unit, factor = _unit(name)
    # A run has the same colour in every chart, even if another run lacks the scalar.
    series = {
        label: [(x, y * factor if abs(y) < _LARGEST else math.inf) for x, y in run.scalars.get(name, ())]
        for label, run in runs.items()
    }
    band = _band(name, next(iter(runs.values()))) if len(runs) == 1 else None
    svg = chart(series, unit, _ACROSS, band)
    if not svg:
        return None
    many = len(runs) > 1
    legend = [
        (swatch(number) if many else '', label if many else '', _told(points, short=many))
        for number, (label, points) in enumerate(series.items())
        if points
    ]
    broken = sum(not math.isfinite(y) for points in series.values() for _, y in points)
    note = f'{broken} values are NaN or infinite and leave gaps' if broken else ''
    title = title or _spoken(name)
    return dict(name=name, title=title, svg=svg, legend=legend, note=note, band=band is not None)


def _spoken(name: str) -> str:
    """A title for a scalar that has none: its last part, with blanks."""
    text = name.split('/')[-1].replace('_', ' ').replace('miou', 'mIoU')
    return text[:1].upper() + text[1:]


def _band(name: str, run: RunFolder) -> tuple[float, float] | None:
    """Value of the start in the guard's table, minus and plus its spread."""
    rows = run.guard.get('measurements') or [{}]
    found = (rows[0].get('signals') or {}).get(name.removeprefix('guard/')) or {}
    value, spread = found.get('value'), found.get('spread')
    if not name.startswith('guard/') or value is None or spread is None:
        return None
    return (value - spread, value + spread) if math.isfinite(value) and math.isfinite(spread) else None


def _told(points: list[tuple[float, float]], short: bool) -> str:
    """First and last finite value; unless ``short``, also smallest and largest value if these differ."""
    ys = [y for _, y in points if math.isfinite(y)]
    if not ys:
        return 'no finite value'
    ends, low, high = f'{ys[0]:.4g} → {ys[-1]:.4g}', min(ys), max(ys)
    inside = {low, high} == {ys[0], ys[-1]}
    text = ends if inside or short else f'{ends}; from {low:.4g} to {high:.4g}'
    return text.replace('-', '−')
