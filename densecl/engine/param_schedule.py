"""Learning rate, weight decay and momentum of an optimiser, changed at every step."""

import logging

from mmengine.logging import print_log
from mmengine.optim import _ParamScheduler

from densecl.registry import PARAM_SCHEDULERS
from densecl.schedule import Clock, Schedule

_HOW = (
    'convert_to_iter_based=True with an epoch loop (PretrainLoop), or by_epoch=False with an '
    'iteration loop (units are then runs and steps)'
)


@PARAM_SCHEDULERS.register_module()
class ParamSchedule(_ParamScheduler):
    """Sets an option of the optimiser's groups at every step, by a :class:`densecl.schedule.Schedule`.

    ``factor`` multiplies each group's initial value. So groups keep their ratio, and a learning rate that was
    scaled to the batch size stays scaled. ``value`` is the number itself. Groups whose initial value is 0
    stay at 0. Groups with ``<param_name>_fixed=True`` stay at their initial value. A group with
    ``<param_name>_ramp=(begin, length)`` has 0 before optimiser step ``begin``; it then rises linearly, over
    ``length`` steps, to the value of the schedule::

        param_scheduler = [
            dict(
                type='ParamSchedule',
                param_name='lr',
                factor=dict(start=1, end=0, warmup=10, unit='epoch'),
                convert_to_iter_based=True,
            )
        ]

    Time is counted in optimiser steps, also under gradient accumulation.

    Args:
        optimizer: the optimizer wrapper or optimiser.
        param_name: ``'lr'``, ``'weight_decay'``, ``'momentum'`` or another option of the groups.
        factor: schedule of the factor.
        value: schedule of the value; not for ``'lr'``.
        end: iterations of the run; the runner gives it.
        epoch_length: iterations of an epoch; the runner gives it with ``convert_to_iter_based=True``.
        by_epoch: must be False here: ``convert_to_iter_based=True`` turns it off.

    Raises:
        ValueError: arguments contradict each other, the groups lack the option, or the run's length is not
            known.
    """

    def __init__(
        self,
        optimizer,
        param_name: str,
        factor: float | dict | None = None,
        value: float | dict | None = None,
        end: int | None = None,
        epoch_length: int | None = None,
        by_epoch: bool = True,
    ) -> None:
        if (factor is None) == (value is None):
            raise ValueError(f'ParamSchedule of {param_name}: give one of factor=... and value=...')
        if param_name == 'lr' and value is not None:
            raise ValueError(
                'ParamSchedule of lr takes factor=..., so that groups keep their ratio and '
                'auto_scale_lr holds; put the rate itself into optim_wrapper.optimizer.lr'
            )
        if by_epoch or end is None:
            raise ValueError(f'ParamSchedule of {param_name} needs {_HOW}')
        if any(param_name not in group for group in optimizer.param_groups):
            known = sorted(set(optimizer.param_groups[0]) - {'params'})
            raise ValueError(f'ParamSchedule: the optimiser has no {param_name!r}, it has {known}')
        self.relative = value is None
        self.schedule = Schedule.of(factor if value is None else value, f'ParamSchedule of {param_name}')
        self.every = getattr(optimizer, '_accumulative_counts', 1)
        self.total, self.epoch_length = end, epoch_length
        self._check_warmup()
        super().__init__(optimizer, param_name, by_epoch=False)

    def _check_warmup(self) -> None:
        """Warn if the run ends before the warm-up does."""
        if not self.schedule.warmup:
            return
        clock = self.clock(0)
        warmup = clock.steps(self.schedule.warmup, self.schedule.unit, self.schedule.name)
        if warmup >= clock.total:
            print_log(
                f'{self.schedule.name}: the warm-up of {warmup:g} steps is not over when the run '
                f'ends, after {clock.total}; shorten it (factor.warmup)',
                'current',
                logging.WARNING,
            )

    @classmethod
    def build_iter_from_epoch(cls, *args, end: int, epoch_length: int, by_epoch: bool = True, **kwargs):
        """Build from a length in epochs (``convert_to_iter_based=True`` of a config)."""
        return cls(*args, end=end * epoch_length, epoch_length=epoch_length, by_epoch=False, **kwargs)

    def clock(self, iteration: int) -> Clock:
        """The numbers of optimiser steps before an iteration, of the whole run and of an epoch."""
        epoch = None if self.epoch_length is None else self.epoch_length / self.every
        return Clock(step=iteration // self.every, total=-(-self.total // self.every), epoch=epoch)

    def _get_value(self) -> list[float]:
        if self.last_step == self.total + 1:
            print_log(
                f'ParamSchedule of {self.param_name}: the run goes on after iteration {self.total}, '
                f'where the schedule ends. It should have {_HOW}',
                'current',
                logging.WARNING,
            )
        clock = self.clock(self.last_step)
        now = self.schedule(clock)
        return [
            self._group_value(group, base, now, clock.step)
            for group, base in zip(self.optimizer.param_groups, self.base_values, strict=True)
        ]

    def _group_value(self, group: dict, base: float, now: float, step: int) -> float:
        if base == 0 or group.get(f'{self.param_name}_fixed', False):
            return base
        value = base * now if self.relative else now
        if ramp := group.get(f'{self.param_name}_ramp'):
            begin, length = ramp
            value *= min(max((step + 1 - begin) / max(length, 1), 0.0), 1.0) if step >= begin else 0.0
        return value

    def state_dict(self) -> dict:
        """The position in the run and the initial values; the schedule itself comes from the config."""
        keys = ('last_step', '_global_step', 'epoch_length', 'base_values')
        return {key: self.__dict__[key] for key in keys}

    def load_state_dict(self, state_dict: dict) -> None:
        """Resume, and set the groups' values for the next step.

        If epochs have another length now (another batch size), the position is the start of the epoch, as in
        ``PretrainLoop``.

        Raises:
            ValueError: the state is that of another kind of schedule.
        """
        if 'epoch_length' not in state_dict:
            raise ValueError(
                f'ParamSchedule of {self.param_name}: the checkpoint was written with another kind of '
                'schedule; resume with the config that lies in the work directory of its run'
            )
        length = state_dict['epoch_length']
        self.base_values = state_dict['base_values']
        self.last_step, self._global_step = state_dict['last_step'], state_dict['_global_step']
        if length and self.epoch_length and length != self.epoch_length:
            self.last_step = self._global_step = self.last_step // length * self.epoch_length
        for group, value in zip(self.optimizer.param_groups, self._get_value(), strict=True):
            group[self.param_name] = value
