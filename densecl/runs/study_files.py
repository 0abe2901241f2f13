"""Adds measurements to the CSVs of a study."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from os.path import commonpath, isabs, relpath
from pathlib import Path
from statistics import fmean, median
from typing import Any

from densecl.files import atomic_write, write_text
from densecl.provenance import of_log

from .benchmark_report import COLUMNS, read_rows
from .folder import RunFolder
from .study import COUNTS, CURVES, FIGURES, RUNS, counts_key, groups_key, read_csv

RUN_COLUMNS = (
    'weights', 'run', 'seed', 'config', 'backbone', 'side', 'batch', 'epochs', 'images', 'minutes',
    'photos_per_s', 'machine', 'date', 'commit', 'command',
)  # fmt: skip
CURVE_COLUMNS = ('weights', 'run', 'seed', 'images', 'figure', 'value')
#: Number of groups for test images without groups, so that their counts need only a few kilobytes.
MOST_GROUPS = 30
_MEASURED = ('guard/', 'probe/')


def add_benchmark(folder: Path, out: Path, facts: Mapping[str, str]) -> str:
    """Add the figures of ``tools/benchmark.py``, and the counts of segmentations by groups of images.

    A new figure replaces an older one of the same task, figure, weights and seed.

    Args:
        folder: folder of the study.
        out: ``--out`` of the benchmark.
        facts: name of a column -> value, for cells that lack it.

    Returns:
        A description of what was done.

    Raises:
        ValueError: images of a task differ from those of the existing counts.
    """
    import numpy as np

    rows, old = read_rows(out), read_csv(folder / FIGURES)
    kept = dict(np.load(folder / COUNTS)) if (folder / COUNTS).is_file() else {}
    for row in rows:
        found = row.pop('counts')()
        kept.pop(counts_key(row), None)
        if found is not None:
            groups, values = _summed(found.groups, found.values.numpy())
            key = groups_key(row['task'])
            if key in kept and kept[key].tolist() != groups:
                raise ValueError(f'{out}: {row["task"]} has other test images than {folder / COUNTS}')
            kept[key], kept[counts_key(row)] = np.array(groups), values
    files = _without_machine(row['file'] for row in rows)
    rows = [row | dict(file=files[row['file']]) | _missing(row, facts) for row in rows]
    replaced = _merge(folder / FIGURES, COLUMNS, old, rows, ('task', 'figure', 'weights', 'seed'))
    with atomic_write(folder / COUNTS) as temporary, open(temporary, 'wb') as file:
        np.savez_compressed(file, **dict(sorted(kept.items())))
    return f'{folder / FIGURES}: {len(rows)} figures, {replaced} of them in place of older ones'


def _missing(row: Mapping[str, Any], facts: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in facts.items() if name in row and not row[name]}


def _summed(groups: Sequence[Any], values: Any) -> tuple[list[str], Any]:
    """Names of at most 30 groups, and (G, 3, K) sums of their counts; more groups are merged into 30."""
    import numpy as np

    names = list(dict.fromkeys(map(str, groups)))
    places = {name: i % MOST_GROUPS for i, name in enumerate(names)}
    count = min(len(names), MOST_GROUPS)
    sums = np.zeros((count, *values.shape[1:]), np.int64)
    np.add.at(sums, [places[str(name)] for name in groups], values)
    titles = names if count == len(names) else [f'{name} and so on' for name in names[:count]]
    return titles, sums.astype(np.int32) if sums.max(initial=0) < 2**31 else sums


def _without_machine(files: Iterable[str]) -> dict[str, str]:
    """File -> its path without the folders common to all absolute paths, but with its own folder."""
    files = list(dict.fromkeys(files))
    above = [str(Path(path).parent.parent) for path in files if isabs(path)]
    named = {path: relpath(path, commonpath(above)) if isabs(path) else path for path in files}
    return {path: re.sub('^random:/.*/(?=configs/)', 'random:', name) for path, name in named.items()}


def add_runs(folder: Path, runs: Sequence[Path], facts: Mapping[str, str]) -> list[str]:
    """Add the pretrainings whose weights are in ``results.csv``, with their measurements during training.

    Args:
        folder: folder of the study.
        runs: folders of ``tools/train.py`` or ``densecl pretrain``.
        facts: name of a column -> value, for folders that lack it.

    Returns:
        A description of what was done.

    Raises:
        ValueError: no weights, or several, of ``results.csv`` are in a folder of this name.
    """
    files = {(row['weights'], row['file']) for row in read_csv(folder / FIGURES)}
    lines, points, told = [], [], []
    for path in runs:
        run, weights = RunFolder(path), _weights_of(path, files, folder)
        line = run_line(run, weights, path.name)
        lines.append(line | _missing(line, facts))
        points += [dict(line, figure=f, images=x, value=f'{y:.5g}') for f, x, y in measured(run)]
        told.append(f'{path.name}: {weights}, {line["images"]} images in {line["minutes"]} minutes')
    _merge(folder / RUNS, RUN_COLUMNS, read_csv(folder / RUNS), lines, ('run',))
    if points:
        _merge(folder / CURVES, CURVE_COLUMNS, read_csv(folder / CURVES), points, ('run', 'images', 'figure'))
    return told


def _weights_of(path: Path, files: Iterable[tuple[str, str]], folder: Path) -> str:
    """The weights whose file is in a folder with the same last parts as ``path``."""
    parts = path.resolve().parts

    def alike(file: str) -> int:
        other = Path(file).parent.parts
        same = [a == b for a, b in zip(reversed(parts), reversed(other), strict=False)]
        return (same + [False]).index(False)

    lengths = {each: alike(each[1]) for each in files if not each[1].startswith('random:')}
    most = max(lengths.values(), default=0)
    found = sorted({weights for (weights, _), length in lengths.items() if length == most and most})
    if len(found) != 1:
        what = f'several: {", ".join(found)}' if found else 'none'
        raise ValueError(f'{path}: weights in {folder / FIGURES} whose file is in such a folder: {what}')
    return found[0]


def run_line(run: RunFolder, weights: str, name: str) -> dict[str, Any]:
    """A line of ``runs.csv``; values missing in the folder are empty."""
    config, scalars = run.config_values, run.scalars
    steps, times = run.steps[0], [value for _, value in scalars.get('time', ())]
    batch, backbone = _batch(run), (config.get('model') or {}).get('backbone') or {}
    minutes = fmean(times) * steps / 60 if times else None
    images = steps * batch if batch else None
    part = [str(backbone[key]) for key in ('type', 'model_name', 'depth', 'arch') if backbone.get(key)]
    known = of_log(run.log)
    return dict(
        weights=weights,
        run=name,
        seed=run.seed if run.seed is not None else '',
        config=_config_name(run),
        backbone=' '.join(part).split('.')[-1],
        side=' '.join(_sides(config)),
        batch=batch or '',
        epochs=(config.get('train_cfg') or {}).get('max_epochs') or '',
        images=images or '',
        minutes=f'{minutes:.1f}' if minutes else '',
        photos_per_s=f'{images / minutes / 60:.1f}' if minutes and images else '',
        machine=known.get('machine', ''),
        date=known.get('date') or _date(run),
        commit=known.get('commit', ''),
        command=_shortened(known.get('command', '')),
    )


def _batch(run: RunFolder) -> int | None:
    """Images per step of all processes: images per second times seconds per step."""
    speed, times = dict(run.scalars.get('images_per_s', ())), dict(run.scalars.get('time', ()))
    found = [speed[step] * times[step] for step in speed.keys() & times.keys()]
    return round(median(found)) if found else None


def _config_name(run: RunFolder) -> str:
    names = [path.name for path in run.folder.glob('*.py')]
    return min(names, default='')


def _sides(config: Mapping[str, Any]) -> list[str]:
    views = config.get('views')
    views = views if isinstance(views, list | tuple) else ()
    sizes = [view.get('size') for view in views if isinstance(view, dict)]
    return list(dict.fromkeys(str(size) for size in sizes if size))


def _date(run: RunFolder) -> str:
    found = re.findall(r'^(\d{4})/(\d\d)/(\d\d) ', run.log, flags=re.M)
    begun = [re.match(r'(\d{4})(\d\d)(\d\d)_', path.name) for path in sorted(run.folder.iterdir())]
    found = found or [match.groups() for match in begun if match]
    return '-'.join(found[-1]) if found else ''


def _shortened(command: str) -> str:
    """The command without this machine's folders: only the last two parts of absolute paths."""
    return re.sub(r'(?<![\w.])(?:/[^\s/\'"]+)+(?=/[^\s/\'"]+/[^\s/\'"]+)/', '', command)


def measured(run: RunFolder) -> list[tuple[str, int, float]]:
    """(figure, images seen, value) of all measurements of guard and probes during training."""
    batch = _batch(run) or 0
    return [
        (name, round(step * batch), value)
        for name, points in run.scalars.items()
        if name.startswith(_MEASURED)
        for step, value in points
    ]


def _merge(
    path: Path,
    columns: Sequence[str],
    old: Iterable[Mapping[str, Any]],
    new: Sequence[Mapping[str, Any]],
    key: Sequence[str],
) -> int:
    """Write old and new lines, sorted by key; return the number of replaced old lines."""
    lines = {tuple(str(row[name]) for name in key): row for row in old}
    count = len(lines)
    added = {tuple(str(row[name]) for name in key): row for row in new}
    lines |= added
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(lines[each] for each in sorted(lines))
    write_text(path, text.getvalue())
    return count + len(added) - len(lines)
