"""SIGTERM saves and leaves."""

import atexit
import multiprocessing
import signal
import threading

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.fileio import get_file_backend, join_path
from mmengine.hooks import Hook

from densecl.distributed import world_size
from densecl.registry import HOOKS

from .runtime_info import flush_logs


class _Deaf:
    """Worker initialisation that ignores SIGTERM: launchers send it to the whole process group, and
    torch's loader takes a killed worker for a crash. The main process ends them: see ``_end_workers``."""

    def __init__(self, then) -> None:
        self.then = then

    def __call__(self, worker_id: int) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.then is not None:
            self.then(worker_id)


def _end_workers() -> None:
    """At exit, before multiprocessing waits for children that its SIGTERM no longer ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would take this for a crash
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


@HOOKS.register_module()
class TerminateHook(Hook):
    """On SIGTERM finish the iteration, save a checkpoint, and exit with code 143 (128 + SIGTERM).

    ``--resume auto`` then goes on with the next sample. Over several processes they agree every
    ``interval`` iterations, because a signal reaches them in different iterations.

    Args:
        interval: iterations between two agreements; every iteration counts in a single process.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self.requested = False
        self._previous = None

    def before_train(self, runner) -> None:
        """Catch the signal (possible in the main thread only), and keep it from the data workers."""
        loader = runner.train_dataloader
        if loader.num_workers:
            loader.worker_init_fn = _Deaf(loader.worker_init_fn)
            atexit.register(_end_workers)
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._request)

    def _request(self, *_) -> None:
        self.requested = True

    def after_train(self, runner) -> None:
        """Give the signal back."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Save and exit if the signal came."""
        if not self._agreed(runner):
            return
        name = f'iter_{runner.iter + 1}.pth'
        flush_logs(runner)
        runner.save_checkpoint(runner.work_dir, name, by_epoch=False)
        if runner.rank == 0:
            backend = get_file_backend(runner.work_dir)
            path = join_path(runner.work_dir, name)
            backend.put_text(path, join_path(runner.work_dir, 'last_checkpoint'))
            runner.logger.info(f'SIGTERM: saved {path}; go on with --resume auto')
        if world_size() > 1:
            dist.barrier()  # nobody leaves, and gets the others killed, while rank 0 still writes
        self.after_train(runner)
        raise SystemExit(128 + signal.SIGTERM)

    def _agreed(self, runner) -> bool:
        if world_size() == 1:
            return self.requested
        if not self.every_n_train_iters(runner, self.interval):
            return False
        device = get_device() if dist.get_backend() == 'nccl' else 'cpu'
        flag = torch.tensor(int(self.requested), device=device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)
