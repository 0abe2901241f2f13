"""Figures of runs on labelled images, over seeds, and their table."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from .folder import RunFolder, dig, is_number
from .markdown import markdown_table

#: A setting that is measured, so it differs between runs with equal settings.
_MEASURED = 'photos_per_s'


@dataclass(frozen=True)
class Row:
    """The runs of one name, which differ only in their seeds.

    Attributes:
        name: name of the runs, without the seed.
        seeds: seeds of the runs, in order; None if a run's seed is not known.
        unfinished: number of unfinished runs.
        values: name of a figure -> its values, from the runs that have it.
    """

    name: str
    seeds: tuple[int | None, ...]
    unfinished: int
    values: dict[str, list[float]]

    @property
    def heading(self) -> str:
        """The name, and remarks about the runs."""
        several = len(self.seeds) > 1
        notes = [f'seeds {", ".join(map(str, self.seeds))}'] * several
        if self.unfinished:
            notes.append(f'{self.unfinished} not finished' if several else 'not finished')
        return f'{self.name} ({", ".join(notes)})' if notes else self.name

    def shown(self, figure: str) -> str | None:
        """Mean and standard deviation (n - 1) over the seeds; a single value itself; None without values."""
        values = self.values.get(figure)
        if not values:
            return None
        sign = '+' if 'gain' in figure else ''
        if len(values) == 1:
            text = f'{values[0]:{sign}.4g}' if figure.startswith('validation') else f'{values[0]:{sign}.1f}'
        else:
            digits = '.3f' if figure.startswith('validation') else '.2f'
            text = f'{fmean(values):{sign}{digits}} ± {stdev(values):{digits}}'
        return text if len(values) == len(self.seeds) else f'{text} ({len(values)} of {len(self.seeds)})'


def figures(run: RunFolder) -> dict[str, float]:
    """Labelled figures: frozen probes, gains over the start, fine-tuning, the guard's probes, validation."""
    found: dict[str, Any] = {}
    for name, probe in run.probes.items():
        before = _probed(run.probes.get(f'{name}_start', {}))
        for (kind, unit), value in _probed(probe).items():
            found[f'{name}: {kind}, {unit}'] = value
            if (kind, unit) in before:
                found[f'{name}: {kind}, gain over the start (points)'] = value - before[kind, unit]
    found |= {f'fine-tuned: {name} (%)': value for name, value in run.metrics.items()}
    for name, points in run.scalars.items():
        if name.startswith('guard/') and name.endswith('_miou'):
            found[f'guard: {name[6:-5]}, last, mIoU (%)'] = points[-1][1]
        elif not run.metrics and _is_validation(name):
            found[f'validation: {name}, last'] = points[-1][1]
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _probed(probe: dict[str, Any]) -> dict[tuple[str, str], float]:
    """(kind, unit) -> value, from a file of ``densecl probe --out``; means over the seeds of k-means."""
    found = {(kind, 'mIoU (%)'): dig(probe, (kind, 'mean')) for kind in ('linear', 'retrieval')}
    clusters = probe.get('clusters')
    for each in clusters if isinstance(clusters, list) else ():
        for matching, name in (('hungarian', 'one-to-one'), ('many', 'many-to-one')):
            values = dig(each, (matching,))
            if isinstance(values, list) and values and all(map(is_number, values)):
                found[f'{each.get("clusters")} clusters {name}', 'mIoU (%)'] = fmean(values)
    found['discovery', 'CorLoc (%)'] = dig(probe, ('discovery', 'corloc'))
    for kind, name in (('knn', 'kNN'), ('linear', 'linear')):
        found[f'boxes {name}', 'mean of classes (%)'] = dig(probe, ('boxes', kind, 'mean_class'))
    return {name: value for name, value in found.items() if is_number(value)}


def _is_validation(name: str) -> bool:
    return ('/' in name and not name.startswith('guard/')) or name in ('mIoU', 'mAcc', 'aAcc')


def rows_of(runs: Sequence[RunFolder], names: Sequence[str]) -> list[Row]:
    """A row for each run; runs of one name and equal settings, but different seeds, are one.

    Args:
        runs: runs of any kind.
        names: their names; ``a_0``, ``a-seed1`` and ``a.2`` are all called a if 0, 1 and 2 are their seeds.
    """
    groups: dict[tuple, list[tuple[str, RunFolder]]] = {}
    for name, run in zip(names, runs, strict=True):
        settings = tuple((s['name'], str(s.get('value'))) for s in run.settings if s['name'] != _MEASURED)
        groups.setdefault((_without_seed(name, run.seed), settings), []).append((name, run))
    bases, rows = [base for base, _ in groups], []
    for (base, _), members in groups.items():
        seeds = {run.seed for _, run in members} - {None}
        if len(seeds) == len(members) > 1 and bases.count(base) == 1:
            rows.append(_row(base, sorted((run for _, run in members), key=lambda run: run.seed)))
        else:
            rows += [_row(name, [run]) for name, run in members]
    return rows


def _row(name: str, runs: Sequence[RunFolder]) -> Row:
    found = [figures(run) for run in runs]
    values = {figure: [each[figure] for each in found if figure in each] for figure in _names(found)}
    return Row(name, tuple(run.seed for run in runs), sum(run.state != 'finished' for run in runs), values)


def _without_seed(name: str, seed: int | None) -> str:
    return name if seed is None else re.sub(rf'(?<=.)[-_. ](seed|s)?[-_]?{seed}$', '', name)


def _names(found: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for each in found for name in each))


def figure_table(rows: Sequence[Row]) -> list[tuple[str, list[str | None]]]:
    """Each figure, and its value in each row."""
    return [(figure, [row.shown(figure) for row in rows]) for figure in _names(row.values for row in rows)]


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown: one line per row, one column per figure."""
    columns = figure_table(rows)
    lines = [
        [row.heading, *(cells[number] or '–' for _, cells in columns)] for number, row in enumerate(rows)
    ]
    return markdown_table(['run', *(figure for figure, _ in columns)], lines) + '\n'
