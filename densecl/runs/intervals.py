"""Means of few values and their 95 % intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Student's t at 0.975 for 1, 2, ... degrees of freedom.
_T = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
)


@dataclass(frozen=True)
class Interval:
    """A mean and how sure it is.

    Attributes:
        mean: of the values.
        half: the 95 % interval is mean - half to mean + half; infinite for a single value.
        count: of the values.
    """

    mean: float
    half: float
    count: int

    @property
    def low(self) -> float:
        """Lower limit."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper limit."""
        return self.mean + self.half

    @property
    def limits(self) -> str:
        """``'+0.20 to +1.40'``, or that there is a single value."""
        return 'one value' if math.isinf(self.half) else f'{self.low:+.2f} to {self.high:+.2f}'

    def __str__(self) -> str:
        if math.isinf(self.half):
            return f'{self.mean:.2f} (one value)'
        return f'{self.mean:.2f} ± {self.half:.2f}'


def interval(values: Sequence[float]) -> Interval:
    """Mean and t-interval of values that scatter normally.

    Raises:
        ValueError: there is none.
    """
    count = len(values)
    if not count:
        raise ValueError('an interval needs a value')
    mean = sum(values) / count
    if count == 1:
        return Interval(mean, math.inf, 1)
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    return of_error(mean, math.sqrt(variance / count), count)


def of_error(mean: float, error: float, count: int) -> Interval:
    """The t-interval of a mean over ``count`` values (or groups) with this standard error."""
    if count == 1:
        return Interval(mean, math.inf, 1)
    t = _T[count - 2] if count - 2 < len(_T) else 1.96 + 2.5 / (count - 1)
    return Interval(mean, t * error, count)


def paired(one: Sequence[float], two: Sequence[float]) -> Interval:
    """Mean and interval of ``two - one``, value by value of the same seeds.

    Raises:
        ValueError: they are not of one length.
    """
    return interval([b - a for a, b in zip(one, two, strict=True)])
