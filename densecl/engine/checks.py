"""Checks, after a run is built and before its first step, whether its parts fit together.

A check is a function of the runner that yields one sentence per problem; ``CHECKS`` lists them. If a config
does on purpose what a check refuses, ``allow=['queue']`` turns the sentences of that check into warnings.
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from densecl.building import ConfigMistake
from densecl.distributed import world_size
from densecl.files import checkpoints_of
from densecl.models.backbones.layers import patch_side
from densecl.models.heads import Head
from densecl.models.heads.units import kind_of
from densecl.models.losses import SwappedPrediction
from densecl.models.memory import Queue
from densecl.models.pretrainers import Pretrainer
from densecl.signatures import nearest

from .wrapped import unwrap


def check_views(runner: Runner) -> Iterator[str]:
    """Each head finds the views that it reads."""
    data = runner.train_loop.dataloader.dataset
    sample = data[0]
    if not hasattr(sample, 'images'):
        yield (
            'train_dataloader.dataset.pipeline: its last transform must make views (MultiView or another), '
            f'the data set returns a {type(sample).__name__}'
        )
        return
    views = len(sample.images)
    for name, head in _heads(runner):
        try:
            head.plan(views)
        except ValueError as error:
            yield f'model.heads.{name}: {error}'
        if head.support and max(head.support) >= views:
            asked = max(head.support)
            yield f'model.heads.{name}.support: view {asked} is asked for, the pipeline makes {views}'


def check_queues(runner: Runner) -> Iterator[str]:
    """No queue of images holds one twice, and each holds at least a step's keys."""
    images = len(runner.train_loop.dataloader.dataset)
    step = runner.train_loop.dataloader.batch_size * world_size()
    step *= runner.cfg.optim_wrapper.get('accumulative_counts', 1)
    for name, head in _heads(runner):
        for place, queue, views in _queues(head):
            place, most = f'model.heads.{name}.{place}', images * views
            if len(queue) > most:
                yield (
                    f'{place}: {len(queue)} keys are more than the {images} images of the data set: images '
                    f'would be there several times; give at most {most}, better a tenth of it'
                )
            elif len(queue) < step * views:
                of = f' in {views} views' if views > 1 else ''
                yield f'{place}: {len(queue)} keys do not hold those of one step of {step} images{of}'


def _queues(head: Head) -> Iterator[tuple[str, Queue, int]]:
    """Place in the head's config, queue, and how many keys of an image enter it at a step."""
    for kind in dict.fromkeys(kind_of(pair.key) for pair in head.pairs):
        views = len({pair.key for pair in head.pairs if kind_of(pair.key) == kind})
        place, objective = 'objective', head.objective
        if kind is not None:
            place, objective = f'objective.{kind}', head.objective[kind]
        for owner in objective.modules():
            # A queue of one key an image; one of objects has more.
            if isinstance(getattr(owner, 'queue', None), Queue) and 'pooled' in getattr(owner, 'sends', ()):
                yield f'{place}.queue', owner.queue, views
            elif isinstance(owner, SwappedPrediction) and 'single' in head.units.gives_of(kind):
                yield from ((f'{place}.queue', queue, 1) for queue in owner.queues[:1])  # one a view, alike


def check_batch(runner: Runner) -> Iterator[str]:
    """Batch statistics are of several images."""
    model, batch = unwrap(runner.model), runner.train_loop.dataloader.batch_size
    groups = max(getattr(model, 'bn_groups', 1), 1)
    if groups > 1 and batch % groups:
        yield f'model.bn_groups={groups} does not divide train_dataloader.batch_size={batch}'
    elif batch // groups < 2:
        own = [name for name, layer in model.named_modules() if _takes_statistics(layer)]
        if own:
            parts = f' in {groups} groups' if groups > 1 else ''
            yield (
                f'train_dataloader.batch_size={batch}{parts}: batch norm (model.{own[0]}) takes its '
                'statistics of a single image; give 2 or more'
            )


def check_sides(runner: Runner) -> Iterator[str]:
    """Where heads ask for places in the photo, whole patches of the backbone fill the views."""
    images = getattr(runner.train_loop.dataloader.dataset[0], 'images', ())
    for name, head in _heads(runner) if len(images) else ():
        asked = set().union(*(rule.needs for rules in head.rules.values() for rule in rules))
        if 'place' not in asked and 'boxes' not in head.units.gives:
            continue
        levels = getattr(head.units, 'levels', None) or (head.units.level,)
        patch = max(patch_side(unwrap(runner.model).backbone, level) for level in levels)
        with contextlib.suppress(ValueError):  # views are missing, as check_views says
            for view in sorted(set().union(*head.needed(len(images)).values())):
                if wrong := [side for side in images[view].shape[:2] if side % patch]:
                    more = wrong[0] + -wrong[0] % patch
                    yield (
                        f'model.heads.{name}: view {view} has a side of {wrong[0]} px, which patches of '
                        f'{patch} px do not fill: the places of cells in the photo would be wrong; give a '
                        f'multiple, such as {more} (densecl pretrain: --size {more})'
                    )


def check_images(runner: Runner) -> Iterator[str]:
    """Images are normalised as those on which the weights were trained."""
    for hook in runner.hooks:
        for difference in getattr(getattr(hook, 'report', None), 'images', ()):
            yield f'{difference} (custom_hooks: {type(hook).__name__})'


#: Name, as used in ``allow`` -> check.
CHECKS: dict[str, Callable[[Runner], Iterator[str]]] = {
    'views': check_views,
    'queue': check_queues,
    'batch': check_batch,
    'sides': check_sides,
    'images': check_images,
}

#: Names of the checks that run before there is a runner, in this module and in ``fields``.
_OTHERS = ('folder', 'names')


def allowed(cfg: Mapping) -> tuple[str, ...]:
    """The checks whose sentences are only warnings; ``allow`` is a name or a list of names.

    Raises:
        ConfigMistake: there is no such check.
    """
    given = cfg.get('allow') or ()
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if name not in (*CHECKS, *_OTHERS):
            near = nearest(name, (*CHECKS, *_OTHERS))
            said = f'did you mean {near}?' if near else f'there are {", ".join((*_OTHERS, *CHECKS))}'
            raise ConfigMistake(f'allow: there is no check {name!r}; {said}')
    return names


def check_folder(folder: str | Path) -> None:
    """Refuse a folder that has checkpoints of another run.

    Raises:
        ConfigMistake: there are such checkpoints.
    """
    found = checkpoints_of(folder)
    if found:
        raise ConfigMistake(
            f'work_dir: {folder} holds another run ({found[0].name}): --resume goes on with it, or give '
            'another --work-dir (to write over it: --cfg-options allow=folder)'
        )


#: Files of the claims that this process holds.
_CLAIMS: set[Path] = set()


@contextlib.contextmanager
def claimed(folder: str | Path) -> Iterator[None]:
    """Inside this context no other process can train in this folder and write over its checkpoints.

    The claim is a lock on a file, which also ends if the process is killed. On file systems without locks
    nothing is claimed. A claim inside a claim of the same process does nothing: POSIX locks end as soon as
    any descriptor of the file is closed.

    Raises:
        ConfigMistake: another process trains there.
    """
    path = Path(folder).resolve() / '.running'
    if path in _CLAIMS:
        yield
        return
    with _locked(path) as file:
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}')
        file.flush()
        _CLAIMS.add(path)
        try:
            yield
        finally:
            _CLAIMS.discard(path)
            path.unlink(missing_ok=True)


def _locked(path: Path) -> TextIO:
    """The open file of a claim, locked if the file system can do that."""
    while True:
        file = path.open('a+')
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX allows both
            file.seek(0)
            other = file.read().strip() or 'another process'
            file.close()
            raise ConfigMistake(
                f'work_dir: in {path.parent} {other} is training; wait for it, or give another folder'
            ) from None
        except OSError:
            return file
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # the claim before this one ended, and its file was removed after it was opened here


class StartChecksHook(Hook):
    """Runs the checks before the first step, when weights are loaded and everything else is built.

    Raises:
        ConfigMistake: the first problem.
    """

    priority = 'VERY_LOW'

    def __init__(self, allow: Sequence[str] = ()) -> None:
        self.allow = tuple(allow)

    def before_train(self, runner: Runner) -> None:
        """Check a pretraining run."""
        for name, said in problems(runner):
            if name not in self.allow:
                raise ConfigMistake(f'{said} (meant so: --cfg-options allow={name})')
            runner.logger.warning(said)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """From here on an error is no mistake in the input."""
        runner.began = True


def problems(runner: Runner) -> Iterator[tuple[str, str]]:
    """(check, problem) pairs of a pretraining run; other trainings are not checked."""
    if isinstance(unwrap(runner.model), Pretrainer):
        for name, check in CHECKS.items():
            yield from ((name, said) for said in check(runner))


def _heads(runner: Runner) -> list[tuple[str, nn.Module]]:
    return list(unwrap(runner.model).heads.items())


def _takes_statistics(layer: nn.Module) -> bool:
    """Whether a layer computes batch statistics, from the batch of this process."""
    return isinstance(layer, _BatchNorm) and layer.training and not isinstance(layer, nn.SyncBatchNorm)
