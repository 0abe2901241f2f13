"""Saves a checkpoint and exits on SIGTERM and SIGINT."""

import atexit
import ctypes
import multiprocessing
import os
import signal
import threading
import time

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.fileio import join_path
from mmengine.hooks import Hook

from densecl.distributed import rank, world_size
from densecl.registry import HOOKS

from .checkpoint import STOPPED, ends_step, name_last
from .runtime_info import flush_logs

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Deaf:
    """Worker initialisation that makes data workers ignore the signals.

    Launchers and terminals send signals to all processes, and torch's loader takes a killed worker for a
    crash. The main process ends the workers: see ``_end_workers``.
    """

    def __init__(self, then) -> None:
        self.then = then

    def __call__(self, worker_id: int) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if self.then is not None:
            self.then(worker_id)


def _end_workers() -> None:
    """End the data workers at exit. Otherwise multiprocessing waits for them: they ignore its SIGTERM."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would take an ended worker for a crash
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _end_on_sigint() -> None:
    """Let SIGINT end the process at once, from any thread.

    A handler in Python would run only between two of Python's steps.
    """
    ctypes.pythonapi.PyOS_setsig(int(signal.SIGINT), None)


@HOOKS.register_module()
class TerminateHook(Hook):
    """On SIGTERM or SIGINT finish the optimiser step, save a checkpoint, and exit with code 143 or 130.

    The codes are 128 + the signal's number, as in a shell. ``--resume auto`` then continues with the next
    sample. Launchers often send SIGTERM twice, to a process and to its group, so a second SIGTERM is ignored;
    the launcher has to kill a process that hangs. A second SIGINT, at least a second after the first signal,
    ends the process at once. A signal reaches several processes in different iterations, so the processes
    agree on the iteration at which they stop.

    Args:
        within: seconds between two agreements of several processes. If a step takes longer, they agree after
            each step.
        interval: largest number of iterations between two agreements.
    """

    priority = 'LOWEST'

    def __init__(self, within: float = 2.0, interval: int = 10) -> None:
        self.within, self.interval = within, interval
        self.requested = 0
        self._previous: dict = {}
        self._patience: threading.Timer | None = None
        self._next, self._agreed_at = 0, (0, 0.0)

    def before_train(self, runner) -> None:
        """Catch the signals (possible in the main thread only), and make data workers ignore them."""
        loader = runner.train_dataloader
        if loader.num_workers:
            loader.worker_init_fn = _Deaf(loader.worker_init_fn)
            atexit.register(_end_workers)
        self._next, self._agreed_at = runner.iter + 1, (runner.iter, time.perf_counter())
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and & ignore it; keep that
                    self._previous[number] = signal.signal(number, self._request)

    def _request(self, number: int, _) -> None:
        if self.requested:  # both signals came before Python handled the first
            return
        self.requested = number
        for caught in self._previous:
            signal.signal(caught, signal.SIG_IGN)
        if signal.SIGINT in self._previous:
            self._patience = threading.Timer(1, _end_on_sigint)
            self._patience.daemon = True
            self._patience.start()
        if rank() == 0:
            name = signal.Signals(number).name
            later = 'Ctrl-C, a second or more from now, stops at once'
            os.write(2, f'{name}: saving at the end of this step; {later}\n'.encode())

    def after_train(self, runner) -> None:
        """Restore the former signal handlers."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience.join()
        while self._previous:
            signal.signal(*self._previous.popitem())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Save and exit if a signal came, but never in the middle of a step of several iterations."""
        number = self._agreed(runner) if ends_step(runner.optim_wrapper) else 0
        if not number:
            return
        name = f'iter_{runner.iter + 1}.pth'
        path = join_path(runner.work_dir, name)
        flush_logs(runner)
        if runner.message_hub.runtime_info.get('last_ckpt') != path:  # a regular checkpoint stays
            runner.message_hub.update_info(STOPPED, path)
        runner.save_checkpoint(runner.work_dir, name, by_epoch=False)
        if runner.rank == 0:
            name_last(runner, path)
            runner.logger.info(f'{signal.Signals(number).name}: saved {path}, where a resumed run goes on')
        if world_size() > 1:
            dist.barrier()  # a process that exits early would get rank 0 killed while it still writes
        self.after_train(runner)
        raise SystemExit(128 + number)

    def _agreed(self, runner) -> int:
        """The signal on which all processes agree, 0 for none."""
        if world_size() == 1:
            return self.requested
        done, now = runner.iter + 1, time.perf_counter()
        if done < self._next:
            return 0
        begun, since = self._agreed_at
        device = get_device() if dist.get_backend() == 'nccl' else 'cpu'
        known = torch.tensor([self.requested, (now - since) / (done - begun)], device=device)
        dist.all_reduce(known, op=dist.ReduceOp.MAX)
        number, seconds = known.tolist()
        self._next = done + max(1, min(self.interval, int(self.within / seconds)))
        self._agreed_at = done, time.perf_counter()
        return int(number)
