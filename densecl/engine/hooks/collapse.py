"""Watches the embeddings while they are trained."""

from collections import deque

from mmengine.dist import master_only
from mmengine.hooks import Hook
from torch import Tensor, nn
from torch import cat as concatenate

from densecl.evaluation.collapse import embedding_statistics
from densecl.registry import HOOKS

from .momentum import unwrap

_DIVERGED = 'Training diverged: lower the learning rate, or leave out --amp fp16'


@HOOKS.register_module()
class CollapseHook(Hook):
    """Logs, for each head, how its embeddings spread, and says so when they collapse.

    ``<head>_std``: standard deviation of the unit embeddings over samples, mean over channels, times
    sqrt(C): 1 when they fill the sphere evenly, 0 when all are the same. ``<head>_rank``: effective rank, at
    most C. ``<head>_neg_sim``: mean cosine of different samples. ``<head>_queue_age``: optimiser steps
    since the oldest key of the queue was made. A head whose ``embeddings`` are a dict is measured part by
    part, ``<head>_<part>_std``, each with the queue of the objective of its name.

    Args:
        interval: iterations of an epoch between two measurements, which are logged at the same iterations as
            the losses; where an epoch is shorter, its end is one if so many have passed since the last.
        samples: number of recent embeddings that are looked at.
        min_std: collapse below this.
        min_rank: collapse below this effective rank.
        patience: consecutive measurements before anything is said.
        action: ``'warn'`` or ``'stop'``, which raises.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        interval: int = 10,
        samples: int = 1024,
        min_std: float = 0.1,
        min_rank: float = 2.0,
        patience: int = 3,
        action: str = 'warn',
    ) -> None:
        if action not in ('warn', 'stop'):
            raise ValueError(f"CollapseHook: action must be 'warn' or 'stop', got {action!r}")
        self.interval = interval
        self.samples = samples
        self.min_std = min_std
        self.min_rank = min_rank
        self.patience = patience
        self.action = action
        self._recent: dict[str, deque[Tensor]] = {}
        self._bad: dict[str, int] = {}
        self._since = 0

    def before_train(self, runner) -> None:
        """Compare queue and data set."""
        images = len(runner.train_dataloader.dataset)
        for name, head in unwrap(runner.model).heads.items():
            queue = max(_queues(name, head).values(), key=len, default=())
            if len(queue) > images:
                runner.logger.warning(
                    f'head {name}: the queue holds {len(queue)} keys, but there are only {images} '
                    f'images: each image is its own negative several times over. Suggestion: '
                    f'model.heads.{name}.objective.queue={_suggest(images)}'
                )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Remember the batch's embeddings; measure where the interval ends."""
        self._since += 1
        due = self._since >= self.interval and self.end_of_epoch(runner.train_dataloader, batch_idx)
        measure = due or self.every_n_inner_iters(batch_idx, self.interval)
        if measure:
            self._since = 0
        for head_name, head in unwrap(runner.model).heads.items():
            for name, rows in _embeddings(head_name, head).items():
                recent = self._recent.setdefault(name, deque())
                # A few rows a batch, spread over it: cells of one image are alike.
                # A copy, which does not keep the others in memory.
                recent.append(rows[:: max(1, len(rows) // 128)][:128].clone())
                while sum(len(r) for r in recent) > self.samples + 128:
                    recent.popleft()
                if measure:
                    queue = _queues(head_name, head).get(name)
                    self._measure(runner, name, queue, concatenate(list(recent)))

    @master_only
    def _measure(self, runner, name: str, queue, embeddings: Tensor) -> None:
        if not bool(embeddings.isfinite().all()):
            self._complain(runner, name, f'head {name}: embeddings are NaN or infinite. {_DIVERGED}')
            self._recent[name].clear()
            return
        values = embedding_statistics(embeddings)
        if queue is not None:
            made = max(int(queue.enqueued), 1)
            values['queue_age'] = round(min(len(queue), made) * unwrap(runner.model).steps / made)
        for key, value in values.items():
            runner.message_hub.update_scalar(f'train/{name}_{key}', value)
        if values['std'] >= self.min_std and values['rank'] >= self.min_rank:
            self._bad[name] = 0
            return
        self._complain(
            runner,
            name,
            (
                f'head {name} is collapsing: its embeddings are almost the same for every image '
                f'(std {values["std"]:.3f} of 1, effective rank {values["rank"]:.1f} of '
                f'{embeddings.shape[1]}). Usual causes: learning rate too high, temperature or '
                'momentum far off, augmentation that destroys the image, or batch statistics '
                'shared by query and key (model.shuffle_bn, model.bn_groups)'
            ),
        )

    def _complain(self, runner, name: str, message: str) -> None:
        """Count; every ``patience`` times in a row, warn or stop."""
        self._bad[name] = self._bad.get(name, 0) + 1
        if self._bad[name] % self.patience:
            return
        if self.action == 'stop':
            raise RuntimeError(message)
        runner.logger.warning(message)


def _embeddings(name: str, head) -> dict[str, Tensor]:
    """What is measured, by its name in the log: all of a head, or its parts."""
    if head.embeddings is None:
        return {}
    if isinstance(head.embeddings, dict):
        return {f'{name}_{part}': rows for part, rows in head.embeddings.items()}
    return {name: head.embeddings}


def _queues(name: str, head) -> dict[str, nn.Module]:
    """The queues of a head, by the same names."""
    parts = {name: head.objective}
    if isinstance(head.objective, nn.ModuleDict):
        parts = {f'{name}_{part}': objective for part, objective in head.objective.items()}
    found = {part: getattr(objective, 'queue', None) for part, objective in parts.items()}
    return {part: queue for part, queue in found.items() if queue is not None}


def _suggest(images: int) -> int:
    """The largest power of two that is at most half of the images."""
    return 1 << max(images // 2, 1).bit_length() - 1
