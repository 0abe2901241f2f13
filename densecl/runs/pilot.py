"""Will pretraining help me? Compares random weights, the start and the continued start on a user's labels."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from densecl.files import sha256_of, write_json
from densecl.inputs import read_json

from .differences import Difference, together
from .intervals import Interval, interval, of_error, paired
from .manifest import hash_files

ARMS = ('random', 'start', 'continued')
_PRETRAINING = 0.45  # share of the hours
_LEAST_SECONDS = 60  # of a fine-tuning; the figures of a shorter one mean nothing
_FIGURES = ('mask AP', 'box AP', 'mIoU')  # of a fine-tuning; the first one that exists is used


@dataclass
class Record:
    """The measurements so far, stored on disk so that a pilot can be resumed.

    Attributes:
        path: path of the json.
        figures: dicts of ``arm``, ``kind``, ``seed`` and ``value`` (per cent); a segmentation has ``counts``,
            too, (M, 3, K) of :func:`densecl.evaluation.segmentation.iou_counts` for its M test images.
        facts: other values for later steps, such as the length of the fine-tunings.
    """

    path: Path
    figures: list[dict[str, Any]]
    facts: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> 'Record':
        """Continue a record, or start a new one."""
        known = read_json(path, "a pilot's figures") if path.is_file() else {}
        return cls(path, known.get('figures', []), known.get('facts', {}))

    def has(self, arm: str, seed: int, *kinds: str) -> bool:
        """Whether all kinds were measured."""
        known = {f['kind'] for f in self.figures if (f['arm'], f['seed']) == (arm, seed)}
        return set(kinds) <= known

    def add(self, arm: str, seed: int, counts: Mapping[str, Any] | None = None, **values: float) -> None:
        """Add figures, also on disk; ``counts`` has the nested lists of those that are segmentations."""
        for kind, value in values.items():
            own = dict(counts=counts[kind]) if counts else {}
            self.figures.append(dict(arm=arm, kind=kind, seed=seed, value=value, **own))
        self.save()

    def is_about(self, **data: Any) -> None:
        """Note what is measured with what.

        Raises:
            ValueError: earlier figures are about other data or weights.
        """
        known = self.facts.setdefault('about', data)
        changed = [name for name, value in data.items() if known.get(name) != value]
        if changed and not self.figures and not (self.path.parent / 'continued' / 'config.py').exists():
            self.facts = dict(about=data)  # of a try that was refused
        elif changed:
            raise ValueError(
                f'{self.path} has figures with other {" and ".join(changed)}: give another --out'
            )
        self.save()

    def save(self) -> None:
        """Write the json."""
        write_json(self.path, dict(facts=self.facts, figures=self.figures))

    def counts(self, arm: str, kind: str) -> dict[int, Any]:
        """Seed -> counts of a segmentation, where there are some."""
        found = [f for f in self.figures if (f['arm'], f['kind']) == (arm, kind) and 'counts' in f]
        return {f['seed']: f['counts'] for f in found}

    def values(self, arm: str, kind: str) -> dict[int, float]:
        """Seed -> value."""
        return {f['seed']: f['value'] for f in self.figures if (f['arm'], f['kind']) == (arm, kind)}

    @property
    def kinds(self) -> list[str]:
        """Kinds of figures, in the order of measurement."""
        return list(dict.fromkeys(f['kind'] for f in self.figures))


def pilot(
    photos: str | list[str],
    labelled: str | Path,
    hours: float = 1.0,
    out: str | Path = 'runs/pilot',
    start: str | None = None,
    method: str | None = None,
    test: str | Path | None = None,
    seeds: int = 3,
    finetune: bool = True,
    show=print,
    **pretraining,
) -> Record:
    """Compare starts within some hours; write ``pilot.json`` and ``pilot.png``, and show a verdict.

    A call with the same folder continues an interrupted one, of the same photos, labels and start.

    Args:
        photos: unlabelled photos.
        labelled, test: see :func:`densecl.evaluation.labelled.open_labelled`.
        hours: for everything; 45 % is for pretraining, the rest for measuring.
        out: output folder.
        start: see :func:`densecl.runs.pretrain`.
        method: method of the pretraining.
        seeds: number of repetitions of each probe and fine-tuning.
        finetune: also fine-tune, as far as time allows.
        show: called with each message.
        **pretraining: further arguments of :func:`densecl.runs.pretrain`.
    """
    from .checks import find_photos, folders_of
    from .leak import leak_check
    from .pilot_measures import fine_tunings, probes
    from .pretraining import pretrain
    from .run import Run
    from .sensor import decoder_of_photos

    begin, folder = time.monotonic(), Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    record = Record.open(folder / 'pilot.json')
    paths = find_photos(folders_of(photos))
    record.is_about(
        photos=hash_files(paths),
        labelled=_digest(labelled),
        test=test and _digest(test),
        start=start,
        method=method,
        size=pretraining.get('size'),
        options=json.loads(json.dumps(pretraining.get('options'))),  # tuples are lists in a json
    )
    show(leak_check(paths, labelled, test, decoder_of_photos(paths)))
    if not record.facts.get('pretrained'):
        there = (folder / 'continued' / 'config.py').is_file()
        wishes = dict(start=start, hours=hours * _PRETRAINING, method=method) | pretraining
        # Without labels: the guard would choose the weights by the labels that then measure them.
        record.facts['hours'] = record.facts.get('hours', hours) if there else hours
        record.save()
        pretrain(photos, out=folder / 'continued', resume=there, show=show, **wishes)
        record.facts['pretrained'] = True
        record.save()
    elif hours != (before := record.facts.get('hours', hours)):
        show(f'the pretraining is done, of --hours {before:g}; for a longer one give another --out')
    run = Run(folder / 'continued')
    arms = ARMS if run.start else ('random', 'continued')
    probes(record, run, arms, labelled, test, seeds, show)
    left = hours * 3600 - (time.monotonic() - begin)
    todo = [(arm, seed) for seed in range(seeds) for arm in arms if not record.has(arm, seed, 'fine-tuned')]
    if finetune and todo and left / len(todo) < _LEAST_SECONDS:
        minutes = max(left, 0) / 60
        show(f'no fine-tuning: {minutes:.0f} minutes are left for {len(todo)} of them; give more --hours')
    elif finetune and todo:
        fine_tunings(record, run, todo, labelled, test, left / len(todo) / 60, show)
    show(summary(record, arms))
    plot(record, arms, folder / 'pilot.png', show)
    return record


def summary(record: Record, arms: tuple[str, ...] = ARMS) -> str:
    """A table of means, the differences, and one sentence."""
    lines = [f'{"":<12}' + ''.join(f'{arm:>18}' for arm in arms) + f'{"gain":>18}']
    gains = differences(record, arms)
    for kind in record.kinds:
        cells = [*figures_of(record, arms, kind), str(gains.get(kind, '–'))]
        lines.append(f'{kind:<12}' + ''.join(f'{cell:>18}' for cell in cells))
    lines.append(
        'mean ± 95 % interval over seeds; gain: continued minus what it began with, seed by seed, of frozen '
        'probes over the test images, too'
    )
    return '\n'.join([*lines, verdict(gains)])


def figures_of(record: Record, arms: tuple[str, ...], kind: str) -> list[str]:
    """Mean and interval of each arm; a dash if nothing was measured yet."""
    values = [list(record.values(arm, kind).values()) for arm in arms]
    return [str(interval(each)) if each else '–' for each in values]


def differences(record: Record, arms: tuple[str, ...] = ARMS) -> dict[str, Interval]:
    """Kind -> continued minus start (or minus random weights, if the run started there), paired by seed.

    The seed of a frozen probe changes only the probe. So its interval holds the choice of test images, too.
    """
    before = arms[-2]
    found = {}
    for kind in record.kinds:
        one, two = record.values(before, kind), record.values('continued', kind)
        shared = sorted(one.keys() & two.keys())
        if shared:
            by_seed = Difference(paired([one[s] for s in shared], [two[s] for s in shared]), 'seeds')
            by_image = _over_images(record, (before, 'continued'), kind, shared)
            found[kind] = together(by_seed, by_image).interval
    return found


def _over_images(record: Record, arms: tuple[str, str], kind: str, seeds: list[int]) -> Difference | None:
    """The difference of two arms over the test images; None if their counts are not known."""
    sides = [record.counts(arm, kind) for arm in arms]
    if not all(seed in side for seed in seeds for side in sides):
        return None
    import torch

    from densecl.evaluation.bootstrap import miou_difference

    found = miou_difference(*([torch.tensor(side[seed]) for seed in seeds] for side in sides))
    return Difference(of_error(found.mean, found.error, found.groups), 'images')


def _digest(path: str | Path) -> str:
    """sha256 of a file, or of the names and sizes of the files in a folder."""
    path = Path(path)
    if not path.is_dir():
        return sha256_of(path)
    return hash_files(str(file) for file in sorted(path.rglob('*')) if file.is_file())


def verdict(gains: dict[str, Interval]) -> str:
    """One sentence: pretrain, do not, or not known yet; with the figures that decided."""

    def listed(kinds: list[str]) -> str:
        return ', '.join(f'{kind} {gains[kind].mean:+.2f} ({gains[kind].limits})' for kind in kinds)

    better = [kind for kind, gain in gains.items() if gain.low > 0]
    worse = [kind for kind, gain in gains.items() if gain.high < 0]
    if worse:
        return f'stop: continuing lowers {listed(worse)}; stay with your start'
    if better:
        return f'go: continuing raises {listed(better)}, and lowers nothing'
    return (
        f'not known: no difference is beyond chance ({listed(list(gains))}); stay with your start, or give '
        'more --hours or --seeds'
    )


def plot(record: Record, arms: tuple[str, ...], path: Path, show=print) -> None:
    """Draw a panel per kind: each seed as a point, mean and interval as a bar."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        show('no plot: pip install matplotlib')
        return
    figure = Figure(figsize=(3.2 * max(len(record.kinds), 1), 3.2), layout='constrained')
    panels = figure.subplots(1, max(len(record.kinds), 1), squeeze=False)[0]
    for panel, kind in zip(panels, record.kinds, strict=False):
        for x, arm in enumerate(arms):
            values = list(record.values(arm, kind).values())
            if values:
                found = interval(values)
                half = found.half if len(values) > 1 else 0
                panel.errorbar(x, found.mean, half, fmt='o', capsize=6, color='black')
                panel.plot([x + 0.15] * len(values), values, '.', color='gray')
        panel.set_xticks(range(len(arms)), arms)
        panel.set_title(kind)
    figure.savefig(path, dpi=120)
    show(f'plot: {path}')
