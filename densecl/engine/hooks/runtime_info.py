"""Logged values stay on the device until somebody reads them."""

import torch
from mmengine.hooks import RuntimeInfoHook

from densecl.distributed import all_reduce, world_size
from densecl.registry import HOOKS


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's hook without its wait for the device in every step and for every value.

    The values of ``interval`` iterations are kept as tensors, averaged over the processes and copied to the
    host together: one collective operation and one wait an interval. So the log describes the whole batch; if
    one process has a NaN or an infinity, the log has it, too. Every process must log the same values in the
    same order. ``grad_norm`` is measured by the optimizer wrapper once an interval, in its last step, or in
    every step where ``FiniteStepHook`` asks. Hooks with ``read_values(runner, rows, own)`` are then given the
    values, an iteration each, averaged and of this process.

    Args:
        interval: iterations between two copies; the log interval or a divisor of it.
        history: how many values of each kind are kept, in memory and in checkpoints. mmengine copies all of
            them for each new one: near its million 3 to 6 ms a value. The files of the log have all values.
    """

    def __init__(self, interval: int = 10, history: int = 1000) -> None:
        self.interval, self.history = interval, history
        self._pending: list[dict] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """As mmengine's; and ask for the norm of the gradients where the interval ends."""
        super().before_train_iter(runner, batch_idx, data_batch)
        wrapper = runner.optim_wrapper
        wrapper.measure = getattr(wrapper, 'measure', None) or self._ends(runner, batch_idx)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Keep the outputs; average and copy those kept where the interval ends."""
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
        """Bring what is kept into the message hub, in order; every process must call this."""
        values = [v for out in self._pending for v in out.values()]
        device = next((v.device for v in values if torch.is_tensor(v)), 'cpu')
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


def flush_logs(runner) -> None:
    """Bring every hook's kept values into the message hub, before it is saved or read."""
    for hook in runner.hooks:
        if hasattr(hook, 'flush'):
            hook.flush(runner)
