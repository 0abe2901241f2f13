"""Watches the embeddings while they are trained."""

from collections import deque

import torch
import torch.distributed as dist
from mmengine.hooks import Hook
from torch import Tensor

from densecl.distributed import rank, world_size
from densecl.engine.wrapped import unwrap
from densecl.evaluation.collapse import embedding_statistics
from densecl.registry import HOOKS

from .runtime_info import flush_logs

_DIVERGED = 'Training diverged: lower the learning rate, or leave out --amp fp16'
#: Fewer embeddings are not measured.
_FEWEST = 8
#: Below this ``vendi`` a head gives one answer to every image.
_DEAD = 1.01
#: Name of the hook's state in a checkpoint.
_STATE = 'collapse'


@HOOKS.register_module()
class CollapseHook(Hook):
    """Logs, for each head, how its embeddings spread, and says so when they collapse.

    ``<head>_std``: standard deviation of the unit embeddings over samples, mean over channels, times
    sqrt(C): 1 when they fill the sphere evenly, 0 when all are the same. ``<head>_rank``: effective rank, at
    most C. ``<head>_neg_sim``: mean cosine of different samples. ``<head>_vendi``: how many different
    embeddings there are in effect, from 1 to C. ``<head>_queue_age``: optimiser steps since the oldest key of
    the queue was made. Where a head has several kinds of units, each is measured by itself, as
    ``<head>_<kind>_std`` and so on.

    **The alarm.** A head collapses where ``vendi`` is less than 2 and less than a quarter of the highest that
    was measured in this run, or where it is 1; ``patience`` measurements in a row, none of which is the
    highest. So a head that begins in a narrow cone is let grow, and one whose start is noise in all
    directions may keep a few of them. Of objectives with prototypes ``groups``, which they log, is taken in
    place of ``vendi``, the mean since the last measurement. Heads whose answers are given (pixels, classes, a
    frozen network) are measured, but raise no alarm.

    Read from the model: ``watched``, name -> (rows (n, C), (n,) bool which of them count, or None for all),
    of the last training pass, ``may_collapse()``, which of these names to judge, and ``queues()``, name ->
    :class:`~densecl.models.memory.Queue`. Process 0 measures its own rows, once there are eight that count. A
    checkpoint has the rows and all else that a resumed run needs to go on as if it had not stopped.

    Args:
        interval: iterations of an epoch between two measurements, which are logged at the same iterations as
            the losses; where an epoch is shorter, its end is one if so many have passed since the last.
        samples: number of recent embeddings that are looked at.
        floor: as many different embeddings, or groups, are no collapse.
        fall: nor is this share of the highest measured, 1 / ``fall``.
        patience: consecutive measurements before anything is said.
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
        if action not in ('warn', 'stop'):
            raise ValueError(f"CollapseHook: action must be 'warn' or 'stop', got {action!r}")
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
        """Remember the batch's embeddings; measure where the interval ends."""
        for name, watched in unwrap(runner.model).watched.items():
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
        """Keep what the next measurements depend on."""
        recent = {name: list(kept) for name, kept in self._recent.items()}
        checkpoint[_STATE] = dict(recent=recent, best=self._best, bad=self._bad, since=self._since)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Go on where a resumed run was."""
        if runner._resume and _STATE in checkpoint:
            state, device = checkpoint[_STATE], next(runner.model.parameters()).device
            self._best, self._bad, self._since = dict(state['best']), dict(state['bad']), state['since']
            self._recent = {
                name: deque(tuple(x if x is None else x.to(device) for x in pair) for pair in kept)
                for name, kept in state['recent'].items()
            }

    def _act(self, runner, complaints: list[str]) -> None:
        """Warn in process 0, or stop in all processes together."""
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
        """Log the figures of every name; what there is to complain about."""
        model, faults = unwrap(runner.model), {}
        judged = model.may_collapse()
        for name, recent in self._recent.items():
            parts = [rows if counted is None else rows[counted] for rows, counted in recent]
            rows = torch.cat(parts)
            if parts[-1].isfinite().all():  # rows of earlier steps, which were left out, may not be
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
        """Log the figures of (N, C) embeddings; what is wrong with them."""
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
        """What is wrong with so many different answers."""
        number, best = round(number, 6), self._best.get(name, 1.0)  # rounding is no growth
        self._best[name] = max(best, number)
        if number > best or not number < min(self.floor, max(_DEAD, best / self.fall)):
            return None
        return (
            f'head {name} is collapsing: almost the same answer for every image: {number:.2f} {what}; '
            f'at best it was {best:.2f}. Usual causes: learning rate too high, temperature or momentum far '
            'off, augmentation that destroys the image, no centring, or batch statistics shared by query and '
            'key (model.shuffle_bn, model.bn_groups)'
        )
