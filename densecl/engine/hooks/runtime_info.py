"""Logged values stay on the device until somebody reads them."""

import torch
from mmengine.hooks import RuntimeInfoHook

from densecl.registry import HOOKS


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's hook without its wait for the device in every step and for every value.

    The values of ``interval`` iterations are kept as tensors and copied to the host together.

    Args:
        interval: iterations between two copies; the log interval or a divisor of it.
    """

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self._pending: list[dict] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Keep the outputs; copy those kept where the interval ends."""
        if outputs:
            self._pending.append(
                {k: v.detach() if torch.is_tensor(v) else v for k, v in outputs.items()}
            )
        last = batch_idx + 1 == len(runner.train_dataloader)
        if last or self.every_n_inner_iters(batch_idx, self.interval):
            self.flush(runner)

    def flush(self, runner) -> None:
        """Copy what is kept into the message hub, in order."""
        tensors = [v for out in self._pending for v in out.values() if torch.is_tensor(v)]
        values = iter(torch.stack([t.double() for t in tensors]).tolist() if tensors else ())
        for outputs in self._pending:
            for key, value in outputs.items():
                value = next(values) if torch.is_tensor(value) else value
                runner.message_hub.update_scalar(f'train/{key}', value)
        self._pending.clear()


def flush_logs(runner) -> None:
    """Bring every hook's kept values into the message hub, before it is saved or read."""
    for hook in runner.hooks:
        if hasattr(hook, 'flush'):
            hook.flush(runner)
