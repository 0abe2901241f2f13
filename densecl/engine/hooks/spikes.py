"""Says when loss or gradient leave their usual range."""

from collections import deque

import numpy as np
from mmengine.hooks import Hook

from densecl.registry import HOOKS


@HOOKS.register_module()
class SpikeHook(Hook):
    """Warns, once a spike, where a logged value rises far above what it was lately.

    Far is more than ``deviations`` standard deviations above the median, estimated as 1.4826 times the median
    absolute deviation, at least ``least`` times the median's size. Spikes are no part of what is usual, until
    there are as many of them as half a window. It costs a step nothing: the values are those that
    ``DeferredRuntimeInfoHook`` has read, so a line comes up to an interval late.

    Args:
        values: names of the log.
        window: iterations that say what is usual.
        after: iterations before anything is said.
        deviations: how far is far.
        least: the smallest rise that is told of, as a share of the median.
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
        """Look at the values of the last iterations."""
        first = runner.iter + 2 - len(rows)
        for number, row in enumerate(rows, start=first):
            for name in self._usual.keys() & row.keys():
                if np.isfinite(row[name]) and (message := self.look(name, row[name])):
                    runner.logger.warning(f'iteration {number}: {message}')

    def look(self, name: str, value: float) -> str | None:
        """Take in the next value; what there is to say of it."""
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
