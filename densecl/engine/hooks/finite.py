"""Skips and reports optimiser steps whose loss or gradient is not finite."""

import math
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.hooks import Hook

from densecl.distributed import is_spread, local, rank, world_size
from densecl.engine.optim import is_float16
from densecl.engine.step_state import StepState
from densecl.engine.wrapped import unwrap
from densecl.files import write_json
from densecl.messages import check_choice
from densecl.registry import HOOKS

#: Folder in the work directory with what is needed to compute such a step again.
FOLDER = 'nonfinite'
_DIVERGED = 'Lower the learning rate, or leave out --amp fp16'
#: Skipped steps in a row that the search for a loss scale may take: it falls from 2^16 to 2^-24.
_SEARCH = 40


@HOOKS.register_module()
class FiniteStepHook(Hook):
    """Skips every optimiser step whose loss or gradient is NaN or infinite, in all processes.

    A skipped step leaves weights, optimiser state, momentum copy, queues, banks, centres, codes and batch
    statistics as they were. Learning rates and schedules continue. The device decides this without a wait of
    the host. The host learns of it when ``DeferredRuntimeInfoHook``, which is required, reads the logged
    values. It then logs one line: which head, which term, which gradient and which process. The positions and
    paths of the images are saved in ``nonfinite/`` of the work directory; ``tools/replay_batch.py`` computes
    the step again from them.

    Steps in which float16 overflows during the search for a loss scale are skipped too, but not reported.
    After 40 of them in a row no scale can help, and the run ends.

    Args:
        action: ``'skip'`` continues; ``'stop'`` ends the run with a RuntimeError in every process.
        limit: after this many such steps in a row the data are not the cause, and the run ends whatever
            ``action`` is; with a loss scale, after 40 at least.
        saved: largest number of such steps whose images are saved, over all parts of a resumed run.
    """

    priority = 'HIGHEST'  # before the target moves

    def __init__(self, action: str = 'skip', limit: int = 10, saved: int = 20) -> None:
        check_choice('FiniteStepHook: action', action, ('skip', 'stop'))
        if limit < 1:
            raise ValueError(f'FiniteStepHook: limit must be at least 1, got {limit}')
        self.action, self.limit, self.saved = action, limit, saved
        self._state: StepState | None = None
        self._batches: list[dict] = []
        self._written, self._weights = 0, None
        self._in_a_row, self._first, self._bad = 0, True, False

    def before_train(self, runner) -> None:
        """Make the optimiser skip steps that are not finite from now on."""
        kind, reads = type(runner.optim_wrapper).__name__, any(hasattr(h, 'flush') for h in runner.hooks)
        if not (reads and hasattr(runner.optim_wrapper, 'guarded')):
            runner.logger.warning(
                f'FiniteStepHook guards nothing: it needs DeferredRuntimeInfoHook, and an OptimWrapper, '
                f'AmpOptimWrapper or BF16OptimWrapper of densecl; optim_wrapper is a {kind}'
            )
            return
        runner.optim_wrapper.guarded = True
        self._written = len(
            list((Path(runner.work_dir) / FOLDER).glob('iter_*.json'))
        )  # also those of before a resume
        self._state = StepState(unwrap(runner.model))

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Keep a copy of what the step may change."""
        if self._state:
            self._state.keep()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Undo the changes of a skipped step; remember the images of the step."""
        if self._state is None:
            return
        wrapper = runner.optim_wrapper
        views = data_batch.get('inputs') if isinstance(data_batch, dict) else None
        batch = dict(iter=runner.iter, epoch=runner.epoch, scaled=is_float16(wrapper))
        batch.update(indices=getattr(views, 'indices', None), paths=getattr(views, 'paths', []))
        if wrapper.should_update():
            batch.update(norms=wrapper.norms, measured=wrapper.measured)
            self._state.close(wrapper.finite)
            if self._first and not wrapper.finite:  # initialise from the next batch instead of this one
                self._state.begin_again()
            self._first = False
        self._batches.append(batch)

    def read_values(self, runner, rows: list[dict[str, float]], own: list[dict]) -> None:
        """Check the values of the last iterations, which are on the host now.

        Args:
            runner: the run's runner.
            rows: for each iteration, name -> mean over the processes.
            own: for each iteration, name -> this process's value, on its device.
        """
        batches, self._batches = self._batches, []
        for batch, row, mine in zip(batches, rows, own, strict=False):
            loss, gradient = row.get('loss', 0.0), row.get('grad_norm', 0.0)
            limit = max(self.limit, _SEARCH) if batch['scaled'] else self.limit
            searching = batch['scaled'] and math.isfinite(loss) and self._in_a_row + 1 < limit
            told = not math.isfinite(loss) or not (math.isfinite(gradient) or self._bad or searching)
            self._bad |= not (math.isfinite(loss) and math.isfinite(gradient))
            if told:
                self._act(runner, self._tell(runner, batch, row, mine), limit)
            if 'grad_norm' in row:  # the step ends
                self._in_a_row = self._in_a_row + 1 if self._bad else 0
                self._bad = False

    def _act(self, runner, message: str, limit: int) -> None:
        """Warn, or raise in all processes."""
        broken = _broken(unwrap(runner.model))
        if broken is not None:
            raise RuntimeError(f'{message}. The weights of {broken} are not finite themselves. {_DIVERGED}')
        if self._in_a_row + 1 >= limit:
            raise RuntimeError(
                f'{message}. {self._in_a_row + 1} such steps in a row: not the images, but the weights, or a '
                f'loss or gradient that is never finite. {_DIVERGED}'
            )
        if self.action == 'stop':
            raise RuntimeError(message)
        runner.logger.warning(message)

    def _tell(self, runner, batch: dict, row: dict[str, float], mine: dict) -> str:
        """Save a step that was not finite; return what to log about it."""
        names = [name for name, value in row.items() if not math.isfinite(value) and name != 'loss']
        losses = [name for name in names if name.startswith('loss_')]
        others = [name for name in names if name not in losses and name != 'grad_norm']
        broken = [k for k, v in mine.items() if not math.isfinite(float(v))]
        part = dict(rank=rank(), nonfinite=broken, paths=list(batch['paths']))
        part['indices'] = [] if batch['indices'] is None else batch['indices'].tolist()
        parts: list = [part]
        if world_size() > 1:
            parts = [None] * world_size()
            dist.all_gather_object(parts, part)
        if losses:
            what = ', '.join(f'{name} is {row[name]}' for name in losses)
            what += f' ({", ".join(others)} too)' if others else ''
        else:
            what = f'the loss is finite, but the gradient of {self._parameters(runner, batch)} is not'
        guilty = at_fault(parts)
        if world_size() > 1 and guilty:
            what += f', on process {", ".join(map(str, guilty))} of {world_size()}'
        message = f'iteration {batch["iter"] + 1}: {what}; the step was left out'
        path = self._save(runner, dict(batch, parts=parts, what=what))
        return f'{message}; to look at it: python tools/replay_batch.py {path}' if path else message

    def _parameters(self, runner, batch: dict) -> str:
        """Which gradients are not finite."""
        names = {p: name for name, p in unwrap(runner.model).named_parameters()}
        norms = zip(batch['measured'], batch['norms'].tolist(), strict=True)
        found = [names[p] for p, norm in norms if not math.isfinite(norm)]
        if not found:
            return 'all parameters together'
        return found[-1] + (f' and {len(found) - 1} more' if found[1:] else '')

    def _save(self, runner, content: dict) -> Path | None:
        """Write the images of a step and the config; with the first such step also the present weights."""
        if self._written >= self.saved:
            return None
        self._written += 1
        folder = Path(runner.work_dir) / FOLDER
        path = folder / f'iter_{content["iter"] + 1}.json'
        parameters = list(unwrap(runner.model).parameters())
        if self._weights is None and all(map(_is_finite, parameters)) and not any(map(is_spread, parameters)):
            self._weights = f'weights_{runner.iter + 1}.pth'
            runner.save_checkpoint(
                str(folder), self._weights, save_optimizer=False, save_param_scheduler=False, by_epoch=False
            )
        if rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            runner.cfg.dump(folder / 'config.py')
            kept = {key: content[key] for key in ('iter', 'epoch', 'what', 'parts')}
            kept |= dict(seed=runner.seed, processes=world_size(), weights=self._weights)
            kept['steps_per_epoch'] = len(runner.train_dataloader)
            file = runner.cfg.filename
            kept['modules'] = str(Path(file).resolve().parent if file else Path.cwd())
            write_json(path, kept)
        return path

    def check_weights(self, runner) -> None:
        """Refuse to save weights that are not finite, in every process.

        Raises:
            RuntimeError: a parameter is not finite; the message names the first one.
        """
        broken = _broken(unwrap(runner.model))
        if broken is not None:
            raise RuntimeError(
                f'{broken} is NaN or infinite at iteration {runner.iter + 1}: no checkpoint was written, '
                f'the one before is whole. {_DIVERGED}'
            )

    def after_train(self, runner) -> None:
        """Let the optimiser make every step again."""
        if self._state is not None:
            self._state.end()
            runner.optim_wrapper.guarded = False


def at_fault(parts: list[dict]) -> list[int]:
    """Processes with a loss value that is not finite (averaged gradients are NaN in all processes)."""
    return [part['rank'] for part in parts if set(part['nonfinite']) - {'grad_norm'}]


def _broken(model: torch.nn.Module) -> str | None:
    """Name of a parameter that is not finite, the same in all processes.

    The values of a sharded parameter may be not finite in a single process.
    """
    parameters = dict(model.named_parameters())
    name = next((name for name, p in parameters.items() if not _is_finite(p)), None)
    if not any(map(is_spread, parameters.values())):
        return name
    names = [name] * world_size()
    dist.all_gather_object(names, name)
    return next(filter(None, names), None)


def _is_finite(x: torch.Tensor) -> bool:
    return bool(local(x).isfinite().all())
