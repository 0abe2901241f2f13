"""Warns when the loss or the gradient leaves its usual range."""

from collections import deque

import numpy as np
from mmengine.hooks import Hook

from densecl.registry import HOOKS


@HOOKS.register_module()
class SpikeHook(Hook):
    """Warns, once per spike, when a logged value rises far above its recent values.

    A spike is a value more than ``deviations`` standard deviations above the median of the window. The
    standard deviation is estimated as 1.4826 times the median absolute deviation. The rise must also be at
    least ``least`` times the median's size. Spikes are left out of the window, until there are as many of
    them as half a window. It adds no cost to a step: the values are those that ``DeferredRuntimeInfoHook``
    has read, so a warning may be late by an interval.

    Args:
        values: names of logged values.
        window: number of recent iterations that define the usual range.
        after: number of iterations before the first possible warning.
        deviations: threshold in standard deviations.
        least: smallest rise that is reported, as a share of the median.
    """

    def __init__(
        self,
        values: tuple[str, ...] = ('loss', 'grad_norm'),
        window: int = 200,
        after: int = 50,
        deviations: float = 10.0,
        least: float = 0.2,
    ) -> None:
        if not 2 <= after <= window:
            raise ValueError(f'SpikeHook: after must lie in [2, window], got {after} and {window}')
        self.after, self.deviations, self.least = after, deviations, least
        self._usual = {name: deque(maxlen=window) for name in values}
        self._spike: dict[str, int] = dict.fromkeys(values, 0)

    def read_values(self, runner, rows: list[dict[str, float]], own: list[dict]) -> None:
        """Check the values of the last iterations."""
        first = runner.iter + 2 - len(rows)
        for number, row in enumerate(rows, start=first):
            for name in self._usual.keys() & row.keys():
                if np.isfinite(row[name]) and (message := self.look(name, row[name])):
                    runner.logger.warning(f'iteration {number}: {message}')

    def look(self, name: str, value: float) -> str | None:
        """Add the next value; return a warning if it is a spike."""
        usual = self._usual[name]
        median = float(np.median(usual)) if usual else value
        spread = 1.4826 * float(np.median(np.abs(np.subtract(usual, median)))) if usual else 0.0
        limit = median + max(self.deviations * spread, self.least * abs(median))
        spikes = len(usual) >= self.after and value > limit
        self._spike[name] = self._spike[name] + 1 if spikes else 0
        if not spikes or 2 * self._spike[name] > len(usual):
            usual.append(value)
        if self._spike[name] != 1:
            return None
        return f'{name} {value:.4g} is far above the last {len(usual)} ({median:.4g} +- {spread:.2g})'
