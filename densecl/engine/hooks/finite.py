"""A step whose loss or gradient is not finite changes nothing, and is told of."""

import json
import math
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.hooks import Hook

from densecl.distributed import is_spread, local, rank, world_size
from densecl.engine.optim import is_float16
from densecl.engine.step_state import StepState
from densecl.engine.wrapped import unwrap
from densecl.files import atomic_write
from densecl.registry import HOOKS

#: Folder in the work directory with what is needed to look at such a step again.
FOLDER = 'nonfinite'
_DIVERGED = 'Lower the learning rate, or leave out --amp fp16'
#: Steps in a row in which a loss scale may be searched: from 2^16 it falls to 2^-24.
_SEARCH = 40


@HOOKS.register_module()
class FiniteStepHook(Hook):
    """Leaves out every optimiser step whose loss or gradient is NaN or infinite, in all processes alike.

    Weights, the optimiser's state, the momentum copy, queues, banks, centres, codes and batch statistics are
    then what they were before the step; rates and schedules go on. It is decided on the device. The host
    learns of it where the logged values are read (``DeferredRuntimeInfoHook``, which has to be there), and
    says in one line which head, which term, which gradient and which process it was. The positions and paths
    of the images are saved in ``nonfinite/`` of the work directory, from which ``tools/replay_batch.py``
    computes the step again.

    A step in which float16 overflows while the loss scale is searched is left out too, but not told of; after
    40 in a row no scale mends it, and the run ends.

    Args:
        action: ``'skip'`` goes on; ``'stop'`` ends the run with a RuntimeError in every process.
        limit: after so many such steps in a row it is not the data: the run ends, whatever ``action`` says;
            with a loss scale after 40 at least.
        saved: of how many such steps at most the images are saved, in all parts of a resumed run.
    """

    priority = 'HIGHEST'  # before the target moves

    def __init__(self, action: str = 'skip', limit: int = 10, saved: int = 20) -> None:
        if action not in ('skip', 'stop'):
            raise ValueError(f"FiniteStepHook: action must be 'skip' or 'stop', got {action!r}")
        if limit < 1:
            raise ValueError(f'FiniteStepHook: limit must be at least 1, got {limit}')
        self.action, self.limit, self.saved = action, limit, saved
        self._state: StepState | None = None
        self._batches: list[dict] = []
        self._written, self._weights = 0, None
        self._in_a_row, self._first, self._bad = 0, True, False

    def before_train(self, runner) -> None:
        """Guard the optimiser, from now on."""
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
        )  # of a resumed run too
        self._state = StepState(unwrap(runner.model))

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Keep what the step may change."""
        if self._state:
            self._state.keep()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Take the step back where it did not count; note its images."""
        if self._state is None:
            return
        wrapper = runner.optim_wrapper
        views = data_batch.get('inputs') if isinstance(data_batch, dict) else None
        batch = dict(iter=runner.iter, epoch=runner.epoch, scaled=is_float16(wrapper))
        batch.update(indices=getattr(views, 'indices', None), paths=getattr(views, 'paths', []))
        if wrapper.should_update():
            batch.update(norms=wrapper.norms, measured=wrapper.measured)
            self._state.close(wrapper.finite)
            if self._first and not wrapper.finite:  # what was to begin with this batch begins with the next
                self._state.begin_again()
            self._first = False
        self._batches.append(batch)

    def read_values(self, runner, rows: list[dict[str, float]], own: list[dict]) -> None:
        """Look at the values of the last iterations, which the host has now.

        Args:
            runner: of the run.
            rows: name -> mean over the processes, an iteration each.
            own: name -> this process's value, on its device.
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
        """Warn, or stop in all processes together."""
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
        """Save what belongs to a step; what there is to say of it."""
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
        """Write the images of a step and the config; with the first one the weights as they are now."""
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
            with atomic_write(path) as temporary:
                Path(temporary).write_text(json.dumps(kept, indent=1))
        return path

    def check_weights(self, runner) -> None:
        """Refuse to save weights that are not finite, in every process.

        Raises:
            RuntimeError: the name of the first parameter that is not.
        """
        broken = _broken(unwrap(runner.model))
        if broken is not None:
            raise RuntimeError(
                f'{broken} is NaN or infinite at iteration {runner.iter + 1}: no checkpoint was written, '
                f'the one before is whole. {_DIVERGED}'
            )

    def after_train(self, runner) -> None:
        """Let the optimiser step freely."""
        if self._state is not None:
            self._state.end()
            runner.optim_wrapper.guarded = False


def at_fault(parts: list[dict]) -> list[int]:
    """Processes with a value of their own that is not finite; averaged gradients are NaN in all of them."""
    return [part['rank'] for part in parts if set(part['nonfinite']) - {'grad_norm'}]


def _broken(model: torch.nn.Module) -> str | None:
    """A parameter that is not finite, the same one in all processes; a spread one may be so in one alone."""
    parameters = dict(model.named_parameters())
    name = next((name for name, p in parameters.items() if not _is_finite(p)), None)
    if not any(map(is_spread, parameters.values())):
        return name
    names = [name] * world_size()
    dist.all_gather_object(names, name)
    return next(filter(None, names), None)


def _is_finite(x: torch.Tensor) -> bool:
    return bool(local(x).isfinite().all())
