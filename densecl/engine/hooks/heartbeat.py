"""Says which process is missing when a run of several processes hangs or fails."""

import contextlib
import json
import socket
import threading
import time
from typing import NamedTuple

import torch.distributed as dist
from mmengine.hooks import Hook

from densecl.distributed import rank, world_size
from densecl.registry import HOOKS

_NAMED = 8  # largest number of processes that a line names


class Sign(NamedTuple):
    """A sign of life: time now and of the last progress (seconds since 1970), half steps done, position."""

    now: float
    moved: float
    done: int
    host: str
    where: str


@HOOKS.register_module()
class HeartbeatHook(Hook):
    """Every process writes its position every few seconds; a process that hangs or fails reads the others'.

    A process that waits for another knows only that it waited ``env_cfg.dist_cfg.timeout`` seconds; with NCCL
    it is then ended without a Python error. So a thread of each process writes its position into the store
    of the process group. If its process has made no progress for half of the timeout, the thread reads the
    positions, and the first process with a recent sign of life logs which processes are behind. A process
    that fails logs where all others were.

    Steps are not slowed. Nothing is read from the store before a process stops making progress.

    Args:
        every: seconds between two signs of life.
    """

    def __init__(self, every: float = 2.0) -> None:
        self.every = every
        self._store, self._thread, self._stop = None, None, threading.Event()
        self._done, self._where, self._moved = 0, 'before its first iteration', time.time()
        self._told = None

    def begin(self, runner) -> None:
        """Start the thread; the runner calls this before it lists images and loads weights."""
        if world_size() > 1 and self._thread is None:
            # A separate connection (newer torch): the first one is blocked while the process waits at it.
            store = dist.distributed_c10d._get_default_store()
            self._store = store.clone() if hasattr(store, 'clone') else store
            limit = ((runner.cfg.get('env_cfg') or {}).get('dist_cfg') or {}).get('timeout') or 600
            self._moved = time.time()
            self._post()
            self._thread = threading.Thread(target=self._beat, args=(runner.logger, limit / 2), daemon=True)
            self._thread.start()

    def before_train(self, runner) -> None:
        """Start the thread, if another kind of runner did not call ``begin``."""
        self.begin(runner)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Note that the batch is loaded."""
        self._move(2 * runner.iter + 1, f'in the step of iteration {runner.iter + 1}')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Note that the step is done."""
        self._move(2 * runner.iter + 2, f'after iteration {runner.iter + 1}, before the data of the next')

    def after_train(self, runner) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def failed(self, runner, error: BaseException) -> None:
        """Log where all processes were last."""
        if self._thread is None:
            return
        first = (str(error).strip().splitlines() or [''])[0]
        self._where = f'{self._where}: {type(error).__name__}: {first}'
        message = f'process {rank()} of {world_size()}, {self._where} | last heard: '
        try:
            self._post()
            now = time.time()
            others = [(other, sign) for other, sign in self._signs().items() if other != rank()]
            message += '; '.join(_told(other, sign, now) for other, sign in others)
        except RuntimeError as store:  # the store ended with the process that held it
            message += f'nothing ({type(store).__name__})'
        runner.logger.error(message)

    def _move(self, done: int, where: str) -> None:
        self._done, self._where, self._moved = done, where, time.time()

    def _beat(self, logger, patience: float) -> None:
        with contextlib.suppress(RuntimeError):  # the store ended with the process that held it
            while not self._stop.wait(self.every):
                self._post()
                moved = self._moved
                if time.time() - moved > patience and self._told != moved:
                    self._told = moved
                    self._tell(logger)

    def _tell(self, logger) -> None:
        """Log which processes are behind; only the first process with a recent sign does so."""
        signs, now = self._signs(), time.time()
        heard = [other for other, sign in signs.items() if sign and now - sign.now < 10 + 5 * self.every]
        if rank() != min(heard, default=rank()):
            return
        least = min(sign.done if sign else -1 for sign in signs.values())
        behind = [other for other, sign in signs.items() if (sign.done if sign else -1) == least]
        more = f'; and {len(behind) - _NAMED} more' if len(behind) > _NAMED else ''
        logger.error(
            f'process {rank()} has not moved for {now - self._moved:.0f} s; furthest behind of {len(signs)}: '
            f'{"; ".join(_told(other, signs[other], now) for other in behind[:_NAMED])}{more}. '
            'It may hang, or read, measure or write: a wait of env_cfg.dist_cfg.timeout seconds ends the run'
        )

    def _signs(self) -> dict[int, Sign | None]:
        """The last sign of each process, without waiting: ``get`` would wait for a process without a sign."""
        keys = {other: f'densecl/beat/{other}' for other in range(world_size())}
        return {
            other: Sign(*json.loads(self._store.get(key))) if self._store.check([key]) else None
            for other, key in keys.items()
        }

    def _post(self) -> None:
        sign = Sign(time.time(), self._moved, self._done, socket.gethostname(), self._where)
        self._store.set(f'densecl/beat/{rank()}', json.dumps(sign))


def _told(other: int, sign: Sign | None, now: float) -> str:
    if sign is None:
        return f'process {other} has not begun'
    there, heard = now - sign.moved, now - sign.now
    return f'process {other} on {sign.host} {sign.where}, for {there:.0f} s, heard {heard:.0f} s ago'
