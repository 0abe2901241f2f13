"""Means of a few values and their 95 % intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        mean: mean of the values.
        half: the 95 % interval is mean - half to mean + half; infinite for a single value.
        count: number of values; there are count - 1 degrees of freedom.
    """

    mean: float
    half: float
    count: float

    @property
    def low(self) -> float:
        """Lower limit."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper limit."""
        return self.mean + self.half

    @property
    def error(self) -> float:
        """Standard error."""
        return self.half / _t(self.count) if self.count > 1 else math.inf

    @property
    def p_value(self) -> float:
        """p-value of the two-sided Student's t-test that the mean is 0; 1 for a single value."""
        if self.count == 1 or self.half == 0:
            return 1.0 if self.count == 1 or self.mean == 0 else 0.0
        from scipy.special import stdtr

        return float(2 * stdtr(self.count - 1, -abs(self.mean) / self.error))

    @property
    def limits(self) -> str:
        """``'+0.20 to +1.40'``, or that there is a single value."""
        return 'one value' if math.isinf(self.half) else f'{self.low:+.2f} to {self.high:+.2f}'

    def __str__(self) -> str:
        if math.isinf(self.half):
            return f'{self.mean:.2f} (one value)'
        return f'{self.mean:.2f} ± {self.half:.2f}'


def interval(values: Sequence[float]) -> Interval:
    """Mean and t-interval of normally distributed values.

    Raises:
        ValueError: there is no value.
    """
    count = len(values)
    if not count:
        raise ValueError('an interval needs a value')
    mean = sum(values) / count
    if count == 1:
        return Interval(mean, math.inf, 1)
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    return of_error(mean, math.sqrt(variance / count), count)


def of_error(mean: float, error: float, count: float) -> Interval:
    """The t-interval of a mean over ``count`` values (or groups) with this standard error."""
    if count == 1:
        return Interval(mean, math.inf, 1)
    return Interval(mean, _t(count) * error, count)


def _t(count: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, 0.975))


def paired(one: Sequence[float], two: Sequence[float]) -> Interval:
    """Mean and interval of ``two - one``, paired by seed.

    Raises:
        ValueError: the lengths differ.
    """
    return interval([b - a for a, b in zip(one, two, strict=True)])


def mean_sd(values: Sequence[float]) -> str:
    """``'41.30 ± 0.52'``, or the mean alone of a single value."""
    return f'{fmean(values):.2f}' + (f' ± {stdev(values):.2f}' if len(values) > 1 else '')
