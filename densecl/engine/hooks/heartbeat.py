"""Who was missing, where a run of several processes ends in an error."""

import contextlib
import threading
import time

import torch.distributed as dist
from mmengine.hooks import Hook

from densecl.distributed import rank, world_size
from densecl.registry import HOOKS


@HOOKS.register_module()
class HeartbeatHook(Hook):
    """Every process says every few seconds where it is; one that fails reads what the others said last.

    A process that waits for another in vain knows only that it waited (``env_cfg.dist_cfg.timeout`` seconds).
    The line that it then logs names those that were elsewhere, or were not heard of any more. A thread writes
    into the store by which the processes met; a step has nothing to do with it.

    Args:
        every: seconds between two signs of life.
    """

    def __init__(self, every: float = 2.0) -> None:
        self.every = every
        self._where, self._stop, self._thread = 'starting', threading.Event(), None

    def before_train(self, runner) -> None:
        """Begin."""
        if world_size() > 1:
            self._store = dist.distributed_c10d._get_default_store()
            self._post()
            self._thread = threading.Thread(target=self._beat, daemon=True)
            self._thread.start()

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """The data are there."""
        self._where = f'in the step of iteration {runner.iter + 1}'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """The step is done."""
        self._where = f'after iteration {runner.iter + 1}, before the data of the next'

    def after_train(self, runner) -> None:
        """End."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def failed(self, runner, error: BaseException) -> None:
        """Log where all processes were last."""
        if self._thread is None:
            return
        first = (str(error).strip().splitlines() or [''])[0]
        self._where = f'{self._where}: {type(error).__name__}: {first}'
        with contextlib.suppress(RuntimeError):  # the store ended with the process that had it
            self._post()
        message = f'process {rank()} of {world_size()}, {self._where}'
        others = [self._said(other) for other in range(world_size()) if other != rank()]
        runner.logger.error(f'{message} | last heard: {"; ".join(others)}')

    def _said(self, other: int) -> str:
        try:
            seconds, where = self._store.get(f'densecl/beat/{other}').decode().split(' ', 1)
        except RuntimeError as error:  # the store ended with the process that had it
            return f'process {other}: {type(error).__name__}'
        return f'process {other} {where}, {time.time() - float(seconds):.0f} s ago'

    def _beat(self) -> None:
        while not self._stop.wait(self.every):
            try:
                self._post()
            except RuntimeError:  # the store ended with the process that had it
                return

    def _post(self) -> None:
        self._store.set(f'densecl/beat/{rank()}', f'{time.time()} {self._where}')
