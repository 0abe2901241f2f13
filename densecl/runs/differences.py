"""Differences of two weights on one task: over seeds, and over test images."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from .intervals import Interval, interval, of_error


@dataclass(frozen=True)
class Counts:
    """The counts from which a segmentation was scored.

    Attributes:
        values: (M, 3, K) of :func:`~densecl.evaluation.segmentation.iou_counts`.
        groups: groups of the M images; images of one group are drawn together.
        names: names of the M images.
    """

    values: Any
    groups: Sequence[Any]
    names: Sequence[str]


@dataclass
class Table:
    """One figure of one task.

    Attributes:
        task, figure: names.
        values: weights -> seed -> value.
        counts: weights -> seed -> function that reads its :class:`Counts`; None if it has none.
        files: weights -> seed -> the file; random weights have one per seed.
    """

    task: str
    figure: str
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    counts: dict[str, dict[int, Callable[[], Counts | None]]] = field(default_factory=dict)
    files: dict[str, dict[int, str]] = field(default_factory=dict)

    def pairs(self, one: str, two: str) -> list[int]:
        """Seeds that both weights have."""
        return sorted(self.values.get(one, {}).keys() & self.values.get(two, {}).keys())


@dataclass(frozen=True)
class Difference:
    """A difference of two weights and its uncertainty.

    Attributes:
        interval: interval of the difference.
        over: source of the uncertainty: ``'seeds'``, ``'pretrainings'``, ``'images'``, or ``'both'`` (seeds
            and images).
        fixed: the two figures do not depend on the seed.
    """

    interval: Interval
    over: str
    fixed: bool = False

    @property
    def tested(self) -> bool:
        """Whether the interval has a finite width that can be tested."""
        return self.interval.count > 1 and not self.fixed


def tables(rows: Sequence[dict[str, Any]], order: Sequence[str] = ()) -> list[Table]:
    """One table per figure; weights in the given order, then by name.

    Args:
        rows: dicts with task, figure, weights, seed, value, file and, if there is one, ``counts``.
        order: order of the weights.
    """
    found: dict[tuple[str, str], Table] = {}
    place = {name: number for number, name in enumerate(order)}
    for row in sorted(rows, key=lambda row: (place.get(row['weights'], len(place)), row['weights'])):
        key, name, seed = (row['task'], row['figure']), row['weights'], row['seed']
        table = found.setdefault(key, Table(*key))
        table.values.setdefault(name, {})[seed] = row['value']
        table.counts.setdefault(name, {})[seed] = row.get('counts') or (lambda: None)
        file = f'{row["file"]}:{seed}' if row['file'].startswith('random:') else row['file']
        table.files.setdefault(name, {})[seed] = file
    return sorted(found.values(), key=lambda table: (table.task, table.figure))


def over_seeds(table: Table, one: str, two: str) -> Difference | None:
    """``two`` minus ``one`` over the seeds that both have; None without common seeds.

    If one of both has several pretrainings, seeds that share one of them are not independent: all that are
    linked in this way count as one pair, their mean.
    """
    seeds = table.pairs(one, two)
    if not seeds:
        return None
    pairs = _independent(table, one, two, seeds)
    found = interval(
        [fmean(table.values[two][seed] - table.values[one][seed] for seed in pair) for pair in pairs]
    )
    fixed = all(len({table.values[name][seed] for seed in seeds}) == 1 for name in (one, two))
    over = 'seeds' if len(pairs) == len(seeds) else 'pretrainings'
    return Difference(found, over, fixed and len(seeds) > 1)


def _independent(table: Table, one: str, two: str, seeds: Sequence[int]) -> list[list[int]]:
    """The seeds in groups, no two of which share a pretraining of weights that have several."""
    several = [name for name in (one, two) if len({table.files[name][seed] for seed in seeds}) > 1]
    groups: list[tuple[set, list[int]]] = []
    for seed in seeds:
        files, group = {(name, table.files[name][seed]) for name in several}, [seed]
        apart = []
        for theirs, others in groups:
            if theirs & files:
                files, group = files | theirs, others + group
            else:
                apart.append((theirs, others))
        groups = [*apart, (files, group)]
    return [group for _, group in groups]


def over_blocks(table: Table, one: str, two: str) -> Difference | None:
    """``two`` minus ``one`` in a linear model: a figure is the sum of effects of weights and seed, and noise.

    It is fitted by least squares, with seeds as blocks: seeds that several weights have are paired. The noise
    is estimated from all weights of the table. So weights with a single seed get the spread of those with
    several. Of weights with several pretrainings, seeds with the same one share their noise: for the spread
    they count as one value, their mean.

    Returns:
        None if one of both has no value. Without a degree of freedom, the interval of a single value.
    """
    import numpy as np

    if one not in table.values or two not in table.values:
        return None
    names = list(table.values)
    cells = [(name, seed) for name in names for seed in sorted(table.values[name])]
    values = np.array([table.values[name][seed] for name, seed in cells])
    shared = [seed for seed, rows in sorted(Counter(seed for _, seed in cells).items()) if rows > 1]
    contrast = np.array([(name == two) - (name == one) for name in names] + [0] * len(shared), float)
    design = np.array([[column in cell for column in names + shared] for cell in cells], float)
    if not np.allclose(contrast @ np.linalg.pinv(design) @ design, contrast):  # no seeds that link them
        design[:, len(names) :] = 0
    weights = contrast @ np.linalg.pinv(design)
    units = list(dict.fromkeys(_unit(table, *cell) for cell in cells))
    member = np.array([[_unit(table, *cell) == unit for cell in cells] for unit in units], float)
    means = member / member.sum(1, keepdims=True)
    solution, _, rank, _ = np.linalg.lstsq(means @ design, means @ values, rcond=None)
    mean, free = float(weights @ values), len(units) - int(rank)
    if not free:
        return Difference(interval([mean]), 'seeds')
    squares = float(((means @ values - means @ design @ solution) ** 2).sum())
    error = (squares / free * ((member @ weights) ** 2).sum()) ** 0.5
    return Difference(of_error(mean, float(error), free + 1), 'seeds', squares < 1e-12)


def _unit(table: Table, name: str, seed: int) -> tuple[str, Any]:
    """What shares its noise: one of several pretrainings, or a seed of the only one."""
    files = table.files[name]
    return name, files[seed] if len(set(files.values())) > 1 else seed


def together(one: Difference | None, two: Difference | None) -> Difference | None:
    """The mean of the first difference, with the independent errors of both, as far as they are tested.

    Degrees of freedom are those of Welch and Satterthwaite. None if there is no difference.
    """
    tested = [each for each in (one, two) if each and each.tested]
    first = one or two
    if first is None or not tested:
        return first
    variances = [each.interval.error**2 for each in tested]
    if not any(variances):  # all seeds, or all images, differ by the same
        return tested[0]
    shares = [v**2 / (each.interval.count - 1) for v, each in zip(variances, tested, strict=True)]
    free = sum(variances) ** 2 / sum(shares)
    over = tested[0].over if len(tested) == 1 else 'both'
    return Difference(of_error(first.interval.mean, math.sqrt(sum(variances)), 1 + free), over)


def over_images(table: Table, one: str, two: str) -> Difference | None:
    """``two`` minus ``one`` over test images, see ``miou_difference``; None without common seeds or counts.

    Raises:
        ValueError: the two were measured on different images, or with different labels.
    """
    seeds = table.pairs(one, two)
    sides = [[table.counts[name][seed]() for seed in seeds] for name in (one, two)]
    if not seeds or any(each is None for side in sides for each in side):
        return None
    names = list(sides[0][0].names)
    if any(list(each.names) != names for side in sides for each in side):
        raise ValueError(f'{table.task}: {one} and {two} were not measured on the same images')
    truths = [each.values[:, 1].tolist() for side in sides for each in side]
    if any(truth != truths[0] for truth in truths):
        raise ValueError(f'{table.task}: {one} and {two} were not measured with the same labels')
    from densecl.evaluation.bootstrap import miou_difference

    values = [[each.values for each in side] for side in sides]
    found = miou_difference(*values, groups=list(sides[0][0].groups))
    return Difference(of_error(found.mean, found.error, found.groups), 'images')
