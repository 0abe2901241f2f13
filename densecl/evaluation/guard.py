"""Decides from measurements whether a backbone is still as good as its start."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from densecl.inputs import read_json

from .bootstrap import resampled
from .segmentation import class_iou
from .signals import Signal

#: Signals that decide without labels: the first one, if at least one of the others fell too.
DECIDING = ('correspondence', 'dse', 'cka', 'labels')
#: A smaller fall is ignored, as two sets of photos can agree by chance.
LEAST_SPREAD = 0.01
#: CKA below this counts as a fall. The start has a CKA of 1 with itself on both sets, so no spread is known.
LEAST_CKA = 0.8
#: Files in the folder of a run: the table of measurements, and the backbone that the guard prefers.
TABLE, BEST = 'guard.json', 'best_dense.pth'


@dataclass(frozen=True)
class Measurement:
    """The measurement of one backbone.

    Attributes:
        signals: result of :meth:`densecl.evaluation.signals.Signals.measure`.
        counts: with labels, ``linear`` and ``retrieval``: (M, 3, K) of
            :func:`~densecl.evaluation.segmentation.iou_counts` for M test images.
        seconds: duration of the measurement.
    """

    signals: dict[str, Signal]
    counts: dict[str, Tensor] | None = None
    seconds: float = 0.0

    def scores(self) -> dict[str, float]:
        """Mean IoU in per cent of each probe; {} without labels."""
        counts = self.counts or {}
        return {name: class_iou(c.sum(0)).nanmean().item() for name, c in counts.items()}

    def state(self) -> dict:
        """The measurement as data for JSON; :meth:`restore` reads it."""
        counts = self.counts and {name: c.tolist() for name, c in self.counts.items()}
        return {'signals': _plain(self.signals), 'counts': counts, 'seconds': self.seconds}

    @classmethod
    def restore(cls, state: dict) -> 'Measurement':
        signals = {name: Signal(**values) for name, values in state['signals'].items()}
        counts = state['counts'] and {name: torch.tensor(c) for name, c in state['counts'].items()}
        return cls(signals, counts, state['seconds'])


@dataclass(frozen=True)
class Decision:
    """The comparison of a backbone with its start.

    Attributes:
        verdict: ``refuse``: significantly worse; ``warn``: worse on average; ``same``; ``better``:
            significantly better, which is possible only with labels.
        sentence: the reason, with the figures.
        fallen: the label-free signals that fell.
        interval: with labels, the mean and the 95 % limits of the difference in mIoU, else None.
    """

    verdict: str
    sentence: str
    fallen: tuple[str, ...]
    interval: tuple[float, float, float] | None = None


def decide(start: Measurement, now: Measurement) -> Decision:
    """Compare a backbone with its start; if there are labels, they decide.

    With labels: ``refuse`` if the upper 95 % limit of the difference is below 0; ``warn`` if its mean is
    below 0. Without labels: ``refuse`` if the correspondence and at least one other signal fell. The other
    signals alone are not enough: they fall in every run that changes the features much, also in runs that
    gain.
    """
    fallen = fallen_signals(start.signals, now.signals)
    if now.counts is None:
        verdict = 'refuse' if DECIDING[0] in fallen and len(fallen) > 1 else 'same'
        return Decision(verdict, _sentence_of_signals(start, now, fallen), fallen)
    gain, low, high = paired_gain(start.counts, now.counts)
    verdict = 'refuse' if high < 0 else 'warn' if gain < 0 else 'better' if low > 0 else 'same'
    before, after = start.scores(), now.scores()
    pairs = ', '.join(f'{name} {after[name]:.1f} (start {before[name]:.1f})' for name in after)
    sentence = f'mIoU {pairs}; mean {gain:+.2f}, 95 % from {low:+.2f} to {high:+.2f}'
    return Decision(verdict, sentence, fallen, (gain, low, high))


def fallen_signals(start: dict[str, Signal], now: dict[str, Signal]) -> tuple[str, ...]:
    """Signals of ``DECIDING`` that fell: by more than the start's difference between its two sets of photos,
    and by more than 0.01. CKA fell if it is below 0.8."""

    def fell(name: str) -> bool:
        if name == 'cka':
            return not now[name].value >= LEAST_CKA
        return not start[name].value - now[name].value <= max(start[name].spread, LEAST_SPREAD)

    return tuple(name for name in DECIDING if fell(name))


def _sentence_of_signals(start: Measurement, now: Measurement, fallen: tuple[str, ...]) -> str:
    said = [
        f'{name} {now.signals[name].value:.3f} (start {start.signals[name].value:.3f}, '
        + (
            f'least {LEAST_CKA}'
            if name == 'cka'
            else f'spread {max(start.signals[name].spread, LEAST_SPREAD):.3f}'
        )
        + (', fallen)' if name in fallen else ')')
        for name in DECIDING
    ]
    stands = fallen and DECIDING[0] not in fallen
    return ', '.join(said) + (f'; the {DECIDING[0]} decides, and has not fallen' if stands else '')


def paired_gain(
    start: dict[str, Tensor], now: dict[str, Tensor], draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Difference in mIoU, mean over the probes, and its 95 % interval by a bootstrap over the images.

    Both backbones get the same draws of images.

    Args:
        start: name of a probe -> (M, 3, K) of :func:`~densecl.evaluation.segmentation.iou_counts`.
        now: the same for the other backbone on the same images.
        draws: number of draws, each of M images with replacement.
        seed: seed of the draws.

    Returns:
        difference over all images, lower and upper limit, in percentage points.
    """
    weights = resampled(len(next(iter(start.values()))), draws, seed)

    def score(counts: Tensor) -> Tensor:
        sums = torch.einsum('di,irk->drk', weights, counts.double())  # d: draws, i: images
        return class_iou(sums).nanmean(1)

    gains = torch.stack([score(now[name]) - score(start[name]) for name in start]).mean(0)
    low, high = gains[1:].quantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return gains[0].item(), low, high


def row(name: str, measurement: Measurement, decision: Decision, **more) -> dict:
    """A line of the table, as data for JSON. ``more``: ``iter``, and ``alpha`` of an average."""
    scores = measurement.scores()
    return {
        'name': name,
        **more,
        'signals': _plain(measurement.signals),
        'miou': scores,
        'score': sum(scores.values()) / len(scores) if scores else None,
        **asdict(decision),
        'seconds': round(measurement.seconds, 2),
    }


def choose(rows: list[dict]) -> dict:
    """The line of the backbone to use.

    With labels: the highest mean mIoU; the start if nothing is higher. Without labels: the last backbone that
    is not damaged and has not fallen since an earlier one (:func:`fallen_since`), or the start. If this is
    the end of the run, an average of start and end replaces it: the one nearest to the end that is not
    damaged and has no barrier (:func:`has_barrier`). Averages gained in runs whose end gained, and also in
    runs whose end lost (docs/guard.md).

    Args:
        rows: lines of the table, the start first.
    """
    if rows[0]['score'] is not None:
        return max(rows, key=lambda r: r['score'])  # of equal scores the first
    safe = [r for r in rows[1:] if r['verdict'] != 'refuse']
    trained = [r for r in safe if not is_average(r) and fallen_since(rows, r) is None]
    last = max(trained, key=lambda r: r['iter'], default=rows[0])
    if last.get('alpha') != 1:
        return last
    averages = [r for r in safe if is_average(r) and not has_barrier(rows, r)]
    return max(averages, key=lambda r: r['alpha'], default=last)


def is_average(line: dict) -> bool:
    """Whether a line belongs to an average of start and end."""
    return line.get('alpha') not in (None, 0, 1)


def has_barrier(rows: list[dict], line: dict) -> bool:
    """Whether an average has a lower correspondence than linear interpolation from start to end predicts.

    Such a barrier means that the weights of the two networks cannot be averaged (Frankle et al., 2020), for
    example those of a random start and its end.
    """
    signals = (
        r['signals'][DECIDING[0]] for r in (rows[0], next(r for r in rows if r.get('alpha') == 1), line)
    )
    start, end, now = signals
    between = start['value'] + line['alpha'] * (end['value'] - start['value'])
    return not between - now['value'] <= max(start['spread'], end['spread'], LEAST_SPREAD)


def fallen_since(rows: list[dict], line: dict) -> dict | None:
    """The best measurement, if dense quality has fallen since then; else None.

    The best one has the highest mean mIoU or, without labels, the highest correspondence. ``line`` has fallen
    if it is below the best by more than half of its 95 % interval; without labels, by more than the larger
    spread of both.

    Args:
        rows: lines of the table, the start first; averages with the start do not count.
        line: one of them.
    """
    earlier = [r for r in rows if r['iter'] < line['iter'] and not is_average(r)]
    if not earlier:
        return None
    if line['score'] is not None:
        best = max(earlier, key=lambda r: r['score'])
        _, low, high = line['interval']
        return best if best['score'] - line['score'] > (high - low) / 2 else None
    best = max(earlier, key=lambda r: r['signals'][DECIDING[0]]['value'])
    now, then = (r['signals'][DECIDING[0]] for r in (line, best))
    margin = max(now['spread'], then['spread'], LEAST_SPREAD)
    return None if then['value'] - now['value'] <= margin else best  # a NaN counts as fallen


def affordable(cost: float, each: float, measured: float, ahead: int, training: float) -> bool:
    """Whether the time of all measurements stays within their share after ``ahead`` more.

    Args:
        cost: largest share, relative to the time of training alone.
        each: seconds per measurement.
        measured: seconds of the measurements so far.
        ahead: number of further measurements, including those that are always made.
        training: seconds of training in the whole run, without measurements.
    """
    return measured + ahead * each <= cost * training


def chosen_weights(folder: str | Path) -> Path | None:
    """The weights that the guard of a run chose at its end; None before the end, and without a guard.

    Raises:
        ValueError: the guard's table is cut off or of another kind.
    """
    best, table = Path(folder) / BEST, Path(folder) / TABLE
    if not (best.is_file() and table.is_file()):
        return None
    content = read_json(table, "the table of a run's guard")
    if not isinstance(content, dict):
        raise ValueError(f"{table} is not the table of a run's guard: move it away")
    return best if content.get('chosen') else None


def export_refusal(checkpoint: str | Path, iteration: int | None) -> str | None:
    """Why a checkpoint must not be exported (its run's guard found it worse than its start), or None.

    Args:
        checkpoint: a file; the guard's table is expected in the same folder.
        iteration: iteration of the checkpoint; the nearest measurement is used. None: not from a run.
    """
    checkpoint = Path(checkpoint)
    table = checkpoint.with_name(TABLE)
    if iteration is None or checkpoint.name == BEST or not table.is_file():
        return None
    content = json.loads(table.read_text())
    measured = [r for r in content['measurements'] if r['iter'] > 0]
    if not measured:
        return None
    nearest = min(measured, key=lambda r: (abs(r['iter'] - iteration), -r['iter']))
    if nearest['verdict'] != 'refuse':
        return None
    best = checkpoint.with_name(BEST)
    instead = f'export {best} instead' if best.is_file() else 'stay with the start'
    return (
        f'{checkpoint} is worse than its start, measured at iteration {nearest["iter"]}: '
        f'{nearest["sentence"]} ({table}); {instead}, or pass --force'
    )


def _plain(signals: dict[str, Signal]) -> dict[str, dict]:
    return {name: asdict(signal) for name, signal in signals.items()}
