"""A progress bar for terminals."""

import atexit
import logging
import sys
from typing import Any

from mmengine.hooks import Hook

from densecl.distributed import rank, world_size
from densecl.registry import HOOKS


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows a bar: images per second of all processes, wait for data, loss, dense quality, and time left.

    Process 0 draws it if it runs in a terminal; the log lines then go to the log file only. Without a
    terminal the lines are printed, and this hook does nothing. The figures come from the log: nothing waits
    for the device.

    Args:
        quality: logged values that measure dense features; the first one that exists is shown.
        console: rich's console to draw on; standard error by default.
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        quality: tuple[str, ...] = ('guard/linear_miou', 'probe/linear_miou', 'guard/correspondence'),
        console: Any = None,
    ) -> None:
        self.quality, self.console, self.bar = quality, console, None

    def before_train(self, runner) -> None:
        """Draw the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        console = self.console or Console(file=sys.stderr)
        if rank() or not console.is_terminal:
            return
        self._quiet(runner.logger, logging.WARNING)
        columns = (TextColumn('{task.description}'), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console)
        self.task = self.bar.add_task('first step', total=runner.max_iters, completed=runner.iter)
        self.bar.start()
        atexit.register(self.bar.stop)  # leaves a clean terminal after an error too

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(self.task, completed=runner.iter + 1, description=self.describe(runner))

    def after_train(self, runner) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.stop()
            atexit.unregister(self.bar.stop)
            self._quiet(runner.logger, logging.NOTSET)

    def describe(self, runner) -> str:
        """``'1,280 images, 37 img/s, 4 % waiting, loss 6.21, linear_miou 39.9'``, without unknown values."""
        seconds, data, loss = (
            self._mean(runner, name) for name in ('train/time', 'train/data_time', 'train/loss')
        )
        known = ((name, self._mean(runner, name, 1)) for name in self.quality)
        quality = next(((name, value) for name, value in known if value is not None), None)
        batch = runner.train_dataloader.batch_size * world_size()
        parts = [f'{(runner.iter + 1) * batch:,} images']
        if seconds:
            parts.append(f'{batch / seconds:.0f} img/s')
            parts.append(f'{(data or 0) / seconds:.0%} waiting')
        parts += [f'loss {loss:.3g}'] if loss is not None else []
        parts += [f'{quality[0].rpartition("/")[2]} {quality[1]:.3g}'] if quality else []
        return ', '.join(parts)

    @staticmethod
    def _mean(runner, name: str, count: int = 10) -> float | None:
        """Mean of the last ``count`` logged values."""
        scalars = runner.message_hub.log_scalars
        return float(scalars[name].mean(count)) if name in scalars and scalars[name].data[0].size else None

    @staticmethod
    def _quiet(logger: logging.Logger, level: int) -> None:
        """Set the lowest level that the log prints; the log file still has everything."""
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(level)
