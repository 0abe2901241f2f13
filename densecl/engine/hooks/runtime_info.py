"""Keeps logged values on the device until they are read."""

import math
import zlib

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import LoggerHook, RuntimeInfoHook

from densecl.distributed import all_reduce, world_size
from densecl.registry import HOOKS


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's hook, but it does not wait for the device at every step and for every value.

    The values of ``interval`` iterations are kept as tensors. They are then averaged over the processes and
    copied to the host together, once per interval. So the log describes the whole batch. A NaN or
    infinity of one process appears in the log. Every process must log the same values in the same order,
    else all of them end with a ValueError. The optimizer wrapper measures ``grad_norm`` once per interval, in
    its last step; with ``FiniteStepHook``, in every step. Hooks with ``read_values(runner, rows, own)`` then
    get the values of each iteration, averaged over the processes and of this process.

    Args:
        interval: iterations between two copies. If it does not divide the log interval, the next smaller
            number that does is taken, as a line of the log would show old values.
        history: number of values of each kind that are kept, in memory and in checkpoints. mmengine keeps a
            million and copies all of them for each new one: 3 to 6 ms per value when there are almost so
            many. The log files have all values.
    """

    def __init__(self, interval: int = 10, history: int = 1000) -> None:
        self.interval, self.history = interval, history
        self._pending: list[dict] = []

    def before_train(self, runner) -> None:
        """As mmengine's; fit the interval to that of the log."""
        super().before_train(runner)
        loggers = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        every = math.gcd(*loggers)  # 0 without a logger, which any interval divides
        self.interval = max(n for n in range(1, self.interval + 1) if every % n == 0)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """As mmengine's; also ask for the gradient norm in the last step of the interval."""
        super().before_train_iter(runner, batch_idx, data_batch)
        wrapper = runner.optim_wrapper
        wrapper.measure = getattr(wrapper, 'measure', None) or self._ends(runner, batch_idx)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Keep the outputs; at the end of the interval average all kept outputs and copy them."""
        values = {k: v.detach() if torch.is_tensor(v) else v for k, v in (outputs or {}).items()}
        norm = getattr(runner.optim_wrapper, 'grad_norm', None)
        if norm is not None:
            values['grad_norm'] = norm
            runner.optim_wrapper.grad_norm = None
        self._pending.append(values)
        if self._ends(runner, batch_idx):
            self.flush(runner)

    def _ends(self, runner, batch_idx: int) -> bool:
        last = self.end_of_epoch(runner.train_dataloader, batch_idx)
        return last or self.every_n_inner_iters(batch_idx, self.interval)

    def flush(self, runner) -> None:
        """Write the kept values into the message hub, in order; every process must call this.

        Raises:
            ValueError: the processes have other values.
        """
        values = [v for out in self._pending for v in out.values()]
        device = next((v.device for v in values if torch.is_tensor(v)), 'cpu')
        _check_alike([name for out in self._pending for name in out], device)
        values = [torch.as_tensor(v, dtype=torch.float64, device=device) for v in values]
        if values:
            values = (all_reduce(torch.stack(values)) / world_size()).tolist()
        averaged, own, self._pending = iter(values), self._pending, []
        rows = [{key: next(averaged) for key in outputs} for outputs in own]
        for key, value in (item for row in rows for item in row.items()):
            runner.message_hub.update_scalar(f'train/{key}', value)
        for buffer in runner.message_hub.log_scalars.values():  # of every hook
            buffer.max_length = min(buffer.max_length, self.history)
        for hook in runner.hooks if rows else ():
            if hasattr(hook, 'read_values'):
                hook.read_values(runner, rows, own)


def _check_alike(names: list[str], device: torch.device | str) -> None:
    """Refuse values that only some processes have, which would be averaged with others (a collective)."""
    if world_size() == 1 or not names:
        return
    code = zlib.crc32('\n'.join(names).encode()) % 2**20  # of which sums of squares are exact
    total, squares = all_reduce(torch.tensor([code, code**2], dtype=torch.float64, device=device)).tolist()
    if world_size() * squares == total**2:  # no variance
        return
    each = all_gather_object(names)
    odd = sorted(set().union(*each) - set.intersection(*map(set, each)))
    what = f'{odd[0]!r} is not logged by all' if odd else 'their order or number differs'
    raise ValueError(
        f'the processes log other values: {what}; give every value at every step, 0 where there is nothing'
    )


def flush_logs(runner) -> None:
    """Write the kept values of every hook into the message hub, before it is saved or read."""
    for hook in runner.hooks:
        if hasattr(hook, 'flush'):
            hook.flush(runner)
