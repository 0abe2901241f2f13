"""Numbers that change while training: momentum, temperature, weight decay, learning rate.

One description serves them all: ``0.999`` stays as it is, ``dict(start=0.996, end=1.0)`` is a cosine over the
run, ``dict(start=0.04, end=0.07, shape='linear', duration=30, unit='epoch', by_epoch=True)`` is DINO's
teacher temperature.
"""

import math
from dataclasses import dataclass, fields

from densecl.messages import check_choice


@dataclass
class Clock:
    """Where a run stands; a model shares one clock with all its parts.

    Attributes:
        step: optimiser steps so far.
        total: optimiser steps of the whole run, where known.
        epoch: optimiser steps of an epoch, where known.
    """

    step: int = 0
    total: int | None = None
    epoch: float | None = None

    def steps(self, count: float, unit: str, name: str = 'schedule') -> float:
        """``count`` runs (shares of the run), epochs or steps, as optimiser steps."""
        size = {'run': self.total, 'epoch': self.epoch, 'step': 1}[unit]
        if size is None:
            raise RuntimeError(
                f'{name}: a schedule in units of {unit!r} needs the length of the run: '
                'MomentumUpdateHook tells the model; outside a runner set model.clock.total and '
                'model.clock.epoch'
            )
        return count * size

    def reached(self, at: float, unit: str, name: str) -> bool:
        """Whether the step has reached ``at``, in ``unit``; 0 needs no length of the run."""
        return not at or self.step >= self.steps(at, unit, name)


@dataclass(frozen=True)
class Schedule:
    """A value that goes from ``start`` to ``end`` and then stays there.

    Attributes:
        start: value at the beginning (of the descent, where there is a warm-up).
        end: value at the end; None keeps ``start`` throughout.
        shape: ``'cosine'`` (half a period) or ``'linear'``.
        duration: when ``end`` is reached, in ``unit``; the rest of the run by default.
        unit: ``'run'`` (1 is the whole run), ``'epoch'`` or ``'step'``; holds for ``warmup`` too.
        by_epoch: change at the start of each epoch only; ``end`` then is the value of the last
            epoch of the ``duration``.
        warmup: length of a linear rise from ``warmup_start`` to ``start`` before everything else.
        warmup_start: value at step 0 of the warm-up.
        warmup_inclusive: the last step of the warm-up has the value ``start`` already (numpy's
            ``linspace``, as in SwAV and DINO), not only the step after it.
    """

    start: float
    end: float | None = None
    shape: str = 'cosine'
    duration: float | None = None
    unit: str = 'run'
    by_epoch: bool = False
    warmup: float = 0.0
    warmup_start: float = 0.0
    warmup_inclusive: bool = False
    name: str = 'schedule'

    def __post_init__(self) -> None:
        self._check_numbers()
        check_choice(f'{self.name}: shape', self.shape, ('cosine', 'linear'))
        check_choice(f'{self.name}: unit', self.unit, ('run', 'epoch', 'step'))
        if self.warmup < 0 or (self.duration is not None and self.duration <= 0):
            raise ValueError(
                f'{self.name}: warmup must be >= 0 and duration > 0, got {self.warmup} and {self.duration}'
            )
        if self.unit == 'run' and max(self.warmup, self.duration or 0) > 1:
            raise ValueError(
                f"{self.name}: in units of 'run' warmup and duration are shares of the run (0..1), got "
                f"{self.warmup} and {self.duration}; say unit='epoch' or unit='step'"
            )

    def _check_numbers(self) -> None:
        for key in ('start', 'end', 'duration', 'warmup', 'warmup_start'):
            value = getattr(self, key)
            optional = key in ('end', 'duration') and value is None
            if not optional and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ValueError(f'{self.name}: {key} must be a number, got {value!r}')

    @classmethod
    def of(cls, value: 'float | dict | Schedule', name: str = 'schedule') -> 'Schedule':
        """A schedule from a config value; ``name`` is what error messages call it."""
        if isinstance(value, Schedule):
            return value
        if isinstance(value, dict):
            known = {f.name for f in fields(cls)} - {'name'}
            if 'start' not in value or set(value) - known:
                raise ValueError(
                    f'{name} takes a number or dict(start=..., end=..., ...) with keys out of '
                    f'{sorted(known)}, got {dict(value)}'
                )
            return cls(**value, name=name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f'{name} takes a number or dict(start=..., end=..., ...), got {value!r}')
        return cls(float(value), name=name)

    @property
    def values(self) -> tuple[float, ...]:
        """The values between which it moves, for checks of their range."""
        ends = (self.start,) if self.end is None else (self.start, self.end)
        return (*ends, self.warmup_start) if self.warmup else ends

    def __call__(self, clock: Clock | None) -> float:
        """The value at the clock's step; a constant needs no clock."""
        if self.end is None and not self.warmup:
            return self.start
        clock = clock or Clock()
        step = clock.step
        if self.by_epoch:
            length = clock.steps(1, 'epoch', self.name)
            # An epoch may hold a fraction of a step (gradient accumulation): no floor a hair too low.
            step = math.floor(step / length + 1e-9) * length
        warmup = clock.steps(self.warmup, self.unit, self.name) if self.warmup else 0
        if step < warmup:
            rise = max(math.ceil(warmup) - 1, 1) if self.warmup_inclusive else warmup
            return self.warmup_start + (self.start - self.warmup_start) * min(step / rise, 1.0)
        if self.end is None:
            return self.start
        if self.duration is not None:
            length = clock.steps(self.duration, self.unit, self.name)
        else:
            length = clock.steps(1, 'run', self.name) - warmup
        if self.by_epoch and self.duration is not None:
            length -= clock.steps(1, 'epoch', self.name)
        progress = min((step - warmup) / length, 1.0) if length > 0 else 1.0
        if self.shape == 'linear':
            return self.start + (self.end - self.start) * progress
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * progress)) / 2
