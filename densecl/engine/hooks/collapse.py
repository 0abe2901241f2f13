"""Detects the collapse of embeddings during training."""

from collections import deque

import torch
import torch.distributed as dist
from mmengine.hooks import Hook
from torch import Tensor

from densecl.distributed import rank, world_size
from densecl.engine.wrapped import unwrap
from densecl.evaluation.collapse import embedding_statistics
from densecl.messages import check_choice
from densecl.registry import HOOKS

from .runtime_info import flush_logs

_DIVERGED = 'Training diverged: lower the learning rate, or leave out --amp fp16'
#: With fewer embeddings than this, nothing is measured.
_FEWEST = 8
#: With a ``vendi`` below this, a head gives the same answer for every image.
_DEAD = 1.01
#: Name of the hook's state in a checkpoint.
_STATE = 'collapse'


@HOOKS.register_module()
class CollapseHook(Hook):
    """Logs how the embeddings of each head spread, and warns when they collapse.

    Logged values, over the last ``samples`` embeddings of C channels:

    * ``<head>_std``: standard deviation of the unit embeddings over samples, averaged over channels, times
      sqrt(C). It is 1 when they fill the sphere evenly, 0 when all are the same.
    * ``<head>_rank``: effective rank, at most C.
    * ``<head>_neg_sim``: mean cosine similarity of different samples.
    * ``<head>_vendi``: effective number of different embeddings, from 1 to C.
    * ``<head>_queue_age``: age of the oldest key in the queue, in optimiser steps.

    If a head has several kinds of units, each kind is measured separately: ``<head>_<kind>_std`` and so on.

    **The alarm.** A measurement shows a collapse if ``vendi`` is 1, or if it is below 2 and below a quarter
    of the highest ``vendi`` of this run. The alarm comes after ``patience`` such measurements in a row, none
    of which is the highest. So a head that starts in a narrow cone has time to grow, and a head that starts
    as noise in all directions may keep only a few of them. Objectives with prototypes log ``groups``; its
    mean since the last measurement then replaces ``vendi``. Heads with given answers (pixels, classes, a
    frozen network) are measured, but raise no alarm.

    The hook reads from the model: ``watched``, name -> (rows (n, C), (n,) bool which of them count, or None
    for all) of the last training pass; ``may_collapse()``, the names to judge; and ``queues()``, name ->
    :class:`~densecl.models.memory.Queue`. Process 0 measures its own rows, once eight rows count. The
    checkpoint has the rows and the other state, so a resumed run continues as if it had not stopped.

    Args:
        interval: iterations within an epoch between two measurements. They are logged at the same iterations
            as the losses. In a shorter epoch its last iteration measures, if ``interval`` iterations have
            passed since the last measurement.
        samples: number of recent embeddings that are measured.
        floor: with this many different embeddings, or groups, or more, there is no collapse.
        fall: with 1 / ``fall`` of the highest measured number, or more, there is no collapse.
        patience: consecutive measurements before the alarm.
        action: ``'warn'``, or ``'stop'``, which raises a RuntimeError in every process.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        interval: int = 10,
        samples: int = 1024,
        floor: float = 2.0,
        fall: float = 4.0,
        patience: int = 3,
        action: str = 'warn',
    ) -> None:
        check_choice('CollapseHook: action', action, ('warn', 'stop'))
        self.interval = interval
        self.samples = samples
        self.floor = floor
        self.fall = fall
        self.patience = patience
        self.action = action
        self._recent: dict[str, deque[tuple[Tensor, Tensor | None]]] = {}
        self._best: dict[str, float] = {}
        self._bad: dict[str, int] = {}
        self._since = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Remember the batch's embeddings; measure at the end of an interval."""
        for name, watched in getattr(unwrap(runner.model), 'watched', {}).items():
            recent = self._recent.setdefault(name, deque())
            recent.append(watched)
            while sum(len(rows) for rows, _ in recent) > self.samples + 128:
                recent.popleft()
        self._since += 1
        due = self._since >= self.interval and self.end_of_epoch(runner.train_dataloader, batch_idx)
        if due or self.every_n_inner_iters(batch_idx, self.interval):
            flush_logs(runner)
            self._act(runner, self._measure_all(runner) if rank() == 0 else [])
            self._since = 0

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the state that the next measurements depend on."""
        recent = {name: list(kept) for name, kept in self._recent.items()}
        checkpoint[_STATE] = dict(recent=recent, best=self._best, bad=self._bad, since=self._since)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Restore the state of a resumed run."""
        if runner._resume and _STATE in checkpoint:
            state, device = checkpoint[_STATE], next(runner.model.parameters()).device
            self._best, self._bad, self._since = dict(state['best']), dict(state['bad']), state['since']
            self._recent = {
                name: deque(tuple(x if x is None else x.to(device) for x in pair) for pair in kept)
                for name, kept in state['recent'].items()
            }

    def _act(self, runner, complaints: list[str]) -> None:
        """Warn in process 0, or raise in all processes."""
        if self.action == 'warn':
            for message in complaints:
                runner.logger.warning(message)
            return
        message = complaints[:1] or [None]
        if world_size() > 1:
            dist.broadcast_object_list(message)
        if message[0] is not None:
            raise RuntimeError(message[0])

    def _measure_all(self, runner) -> list[str]:
        """Log the figures of every name; return the complaints."""
        model, faults = unwrap(runner.model), {}
        if not self._recent:  # a model of another kind, which shows nothing
            return []
        judged = model.may_collapse()
        for name, recent in self._recent.items():
            parts = [rows if counted is None else rows[counted] for rows, counted in recent]
            rows = torch.cat(parts)
            if parts[-1].isfinite().all():  # rows of earlier, skipped steps may not be
                rows = rows[rows.isfinite().all(1)]
            if len(rows) >= _FEWEST:
                faults[name] = self._measure(runner, name, rows, name in judged)
        for key, values in runner.message_hub.log_scalars.items():
            if any(key.startswith(f'train/{name}_groups') for name in model.heads):
                name = key.removeprefix('train/')
                faults[name] = self._judge(name, values.mean(self._since), 'groups of units are told apart')
        for name, fault in faults.items():
            self._bad[name] = self._bad.get(name, 0) + 1 if fault else 0
        return [fault for name, fault in faults.items() if fault and self._bad[name] % self.patience == 0]

    def _measure(self, runner, name: str, embeddings: Tensor, judged: bool) -> str | None:
        """Log the figures of (N, C) embeddings; return what is wrong with them, or None."""
        if not bool(embeddings.isfinite().all()):
            return f'head {name}: embeddings are NaN or infinite. {_DIVERGED}'
        values = embedding_statistics(embeddings)
        model = unwrap(runner.model)
        queue = model.queues().get(name)
        if queue is not None:
            made = max(int(queue.enqueued), 1)
            values['queue_age'] = round(min(len(queue), made) * model.steps / made)
        for key, value in values.items():
            runner.message_hub.update_scalar(f'train/{name}_{key}', value)
        what = f'different embeddings among {len(embeddings)} (std {values["std"]:.3f} of 1, '
        what += f'effective rank {values["rank"]:.1f} of {embeddings.shape[1]})'
        return self._judge(name, values['vendi'], what) if judged else None

    def _judge(self, name: str, number: float, what: str) -> str | None:
        """What is wrong if there are ``number`` different answers; None: nothing."""
        number, best = round(number, 6), self._best.get(name, 1.0)  # so a rounding error is no growth
        self._best[name] = max(best, number)
        if number > best or not number < min(self.floor, max(_DEAD, best / self.fall)):
            return None
        return (
            f'head {name} is collapsing: almost the same answer for every image: {number:.2f} {what}; '
            f'at best it was {best:.2f}. Usual causes: learning rate too high, temperature or momentum far '
            'off, augmentation that destroys the image, no centring, or batch statistics shared by query and '
            'key (model.shuffle_bn, model.bn_groups)'
        )
