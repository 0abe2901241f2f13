"""Computes a training step with NaN or infinite values again, and finds where these values first appear."""

import json
import math
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.device import get_device
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from densecl.datasets.sampler import SampleKey
from densecl.registry import LOOPS

from .hooks.finite import FOLDER, at_fault
from .launch import build_runner, read_config
from .loop import PretrainLoop, step_seed
from .optim import autocast_dtype
from .wrapped import unwrap

_LARGE = 1e4
_KEYS = {'iter', 'epoch', 'what', 'parts', 'seed', 'processes', 'steps_per_epoch'}
_LEFT_OUT = ('GuardHook', 'ProbeHook', 'ProgressHook', 'TerminateHook')


def replay(path: str | Path, checkpoint: str | Path | None = None, rank: int | None = None) -> dict:
    """Compute a step again that ``FiniteStepHook`` skipped and saved.

    The views of the images are the same as in the run, bit for bit. The model's random numbers are the same.

    Args:
        path: the ``iter_N.json`` of the step.
        checkpoint: file with the weights. None takes the newest checkpoint in the run's folder from before
            the step; if there is none, the weights that were saved with the run's first such step.
        rank: the process whose images are used; None: the first process with a value that is not finite.
            Losses that compare images of all processes see only the images of this one.

    Returns:
        A dict: ``checkpoint``, the file used; ``images``, those with a normalised value that is not finite or
        above 10,000, with their largest value; ``values``, the logged ones; ``modules`` whose output is not
        finite, in the order of their calls, and whether their input was finite; ``gradients`` that are not
        finite.

    Raises:
        FileNotFoundError: the step's file or its config does not exist.
        ValueError: the file is no record of such a step, or it has no such process.
    """
    path = Path(path)
    config = path.parent / 'config.py'
    for needed in (path, config):
        if not needed.is_file():
            raise FileNotFoundError(f'{needed}: no such file; FiniteStepHook writes it in WORK_DIR/{FOLDER}')
    record = read_record(path)
    if isinstance(record.get('modules'), str):  # of custom_imports, beside the run's own config
        sys.path.append(record['modules'])
    cfg = read_config(str(config))
    if rank is not None and not 0 <= rank < len(record['parts']):
        raise ValueError(f'{path}: rank must be 0 to {len(record["parts"]) - 1}, got {rank}')
    rank = next(iter(at_fault(record['parts'])), 0) if rank is None else rank
    if checkpoint is None:
        checkpoint = checkpoint_before(path.parent.parent, record['iter'], record['steps_per_epoch'])
    if checkpoint is None and record.get('weights'):
        spare = path.parent / record['weights']
        checkpoint = spare if spare.exists() else None
    with tempfile.TemporaryDirectory() as work_dir:
        cfg.work_dir, cfg.launcher, cfg.log_level = work_dir, 'none', 'ERROR'
        cfg.resume, cfg.load_from = checkpoint is not None, checkpoint and str(checkpoint)
        cfg.train_cfg.update(type='ReplayLoop', record=record, rank=rank)
        cfg.train_dataloader.num_workers = 0
        hooks = cfg.get('custom_hooks') or []
        cfg.custom_hooks = [hook for hook in hooks if not str(hook['type']).endswith(_LEFT_OUT)]
        wrapper = cfg.optim_wrapper
        autocast = autocast_dtype(wrapper)
        wrapper.type = 'OptimWrapper'  # nothing is optimised
        for key in ('dtype', 'loss_scale'):
            wrapper.pop(key, None)
        runner = build_runner(cfg)
        with torch.autocast(get_device(), dtype=autocast, enabled=autocast is not None):
            runner.train()
        return dict(runner.train_loop.report, checkpoint=checkpoint, rank=rank, record=record)


def read_record(path: Path) -> dict:
    """Read what ``FiniteStepHook`` saved of a step.

    Raises:
        ValueError: the file is something else.
    """
    try:
        record = json.loads(path.read_text())
    except ValueError:  # no JSON, no text
        record = None
    if not isinstance(record, dict) or not _KEYS.issubset(record):
        raise ValueError(
            f'{path} is no record of a step; FiniteStepHook writes WORK_DIR/{FOLDER}/iter_N.json'
        )
    return record


def checkpoint_before(work_dir: Path, iteration: int, steps_per_epoch: int) -> Path | None:
    """The newest checkpoint of a run that was written before ``iteration`` iterations were done."""
    found = {}
    for path in work_dir.glob('*.pth'):
        if named := re.fullmatch(r'(iter|epoch)_(\d+)\.pth', path.name):
            done = int(named[2]) * (steps_per_epoch if named[1] == 'epoch' else 1)
            if done <= iteration:
                found[done] = path
    return found[max(found)] if found else None


@LOOPS.register_module()
class ReplayLoop(PretrainLoop):
    """Computes one step of one process instead of training; ``report`` says what is not finite.

    Args:
        record: what ``FiniteStepHook`` saved.
        rank: the process whose images are used.
    """

    def __init__(self, *args, record: dict, rank: int, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.record, self.rank, self.report = record, rank, {}

    def run(self) -> nn.Module:
        """Compute the step again; nothing is trained."""
        record, runner = self.record, self.runner
        part = record['parts'][self.rank]
        self._iter, self._epoch = record['iter'], record['epoch']
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        model = unwrap(runner.model).train()
        samples = [self.dataloader.dataset[SampleKey(self._epoch, index)] for index in part['indices']]
        batch = self.dataloader.collate_fn(samples)
        place = self._iter - self._epoch * len(self.dataloader)
        runner.call_hook('before_train_iter', batch_idx=place, data_batch=batch)
        torch.manual_seed(step_seed(record['seed'], record['iter'], self.rank))
        views = model.data_preprocessor(batch, True)['inputs']
        self.report['images'] = _strange_images(views)
        with first_broken(model) as modules:
            losses = model.loss(views)
        self.report['values'] = {name: float(value.detach()) for name, value in losses.items()}
        self.report['modules'] = modules
        total = sum(value for name, value in losses.items() if 'loss' in name)
        total.backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        self.report['gradients'] = [n for n, g in gradients.items() if not bool(g.isfinite().all())]
        return model


@contextmanager
def first_broken(model: nn.Module) -> Iterator[list[tuple[str, bool]]]:
    """Modules whose output is not finite, in the order of their calls, and whether their input was finite."""
    found: list[tuple[str, bool]] = []

    def look(name: str):
        def hook(_, given, output) -> None:
            if not _is_finite(output):
                found.append((name, _is_finite(given)))

        return hook

    handles = [part.register_forward_hook(look(name)) for name, part in model.named_modules() if name]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _is_finite(values) -> bool:
    return all(bool(x.isfinite().all()) for x in tree_leaves(values) if isinstance(x, Tensor))


def _strange_images(views) -> dict[str, float]:
    """``view of path`` -> largest normalised value, for images with values that no sensor can give."""
    found = {}
    for number, images in enumerate(views.images):
        if images.is_floating_point():
            largest = zip(views.paths, images.abs().flatten(1).amax(1).tolist(), strict=True)
            found |= {f'view {number} of {path}': x for path, x in largest if not x < _LARGE}
    return found


def sentences(report: dict) -> list[str]:
    """What a replayed step shows, as lines of text."""
    record, part = report['record'], report['record']['parts'][report['rank']]
    lines = [
        f'iteration {record["iter"] + 1}, process {report["rank"]} of {record["processes"]}, '
        f'{len(part["indices"])} images; in the run: {record["what"]}',
        f'weights: {report["checkpoint"] or "as they are at the start of a run; no checkpoint is left"}',
    ]
    lines += [f'{name}: normalised values up to {value:.3g}' for name, value in report['images'].items()]
    broken = {name: value for name, value in report['values'].items() if not math.isfinite(value)}
    lines += [f'not finite: {name} is {value}' for name, value in broken.items()]
    if report['modules']:
        name, given = report['modules'][0]
        lines.append(
            f'first module whose output is not finite: {name}, from an input that is'
            + ('' if given else ' not either')
            + f'; {len(report["modules"])} modules in all'
        )
    gradients = report['gradients']
    if gradients:
        lines.append(f'gradients that are not finite: {gradients[-1]} and {len(gradients) - 1} more')
    if not (broken or gradients):
        lines.append(
            'with these weights everything is finite: take a checkpoint that is nearer to the step'
            + (', or another --rank' if record['processes'] > 1 else '')
        )
    return lines
