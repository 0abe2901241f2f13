"""``--check``: build and try everything that a run needs; write only to a temporary folder."""

import copy
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

from densecl.building import ConfigMistake, building, check_arguments, dotted, one_line, resolve
from densecl.datasets.subset import evenly
from densecl.models.pretrainers import Pretrainer
from densecl.registry import VISBACKENDS
from densecl.signatures import shortened

from . import launch
from .checks import CHECKS, allowed, check_folder, problems
from .fields import FIELDS, check_fields
from .hooks.guard import GuardHook
from .hooks.probe import ProbeHook
from .wrapped import unwrap

#: Number of samples that are read, spread over the data set.
SAMPLES = 32
#: Images in the step that is tried, from the config's batch; a multiple of what batch statistics need.
STEP = 8


def try_out(cfg: Config, show: Callable[[str], Any] = print) -> bool:
    """Try a training and show a line for each part of it.

    Args:
        cfg: config of the training.
        show: called with each line.

    Returns:
        Whether every part works.
    """
    begin, wrong = time.time(), 0
    for name, said, fine in _items(cfg):
        show(f'{"ok   " if fine else "WRONG"} {name:<10} {said}')
        wrong += not fine
    told = 'nothing is wrong' if not wrong else f'{wrong} thing{"s are" if wrong > 1 else " is"} wrong'
    show(f'{told} ({time.time() - begin:.0f} s)')
    return not wrong


def _items(cfg: Config) -> Iterator[tuple[str, str, bool]]:
    """(name, text, whether it works) of each part; a part that needs a failed one is left out."""
    try:
        allow = allowed(cfg)
        if not cfg.get('resume') and 'folder' not in allow:
            check_folder(cfg.work_dir)
        yield 'folder', f'{cfg.work_dir}', True
    except (ConfigMistake, OSError) as error:
        yield 'folder', one_line(error), False
        allow = ()
    with tempfile.TemporaryDirectory(prefix='densecl-check-') as folder:
        trial = _Trial(copy.deepcopy(cfg), folder)
        for name, part in trial.parts().items():
            try:
                yield name, part(), True
            except Exception as error:
                yield name, one_line(error), False
                return
        told = trial.problems()
        for name in CHECKS if told is not None else ():
            fine = name not in told or name in allow
            said = '; '.join(told[name]) if name in told else CHECKS[name].__doc__.rstrip('.').lower()
            yield name, said + (' (allowed)' if name in told and fine else ''), fine
        try:
            yield 'step', trial.step(), True
        except Exception as error:
            yield 'step', one_line(error), False


class _Trial:
    """A run of one process in a temporary folder, built part by part."""

    def __init__(self, cfg: Config, folder: str) -> None:
        if cfg.get('resume') and not cfg.get('load_from'):
            launch.use_resume(cfg, 'auto')
        cfg.update(work_dir=folder, launcher='none', log_level='ERROR')
        self.cfg = cfg
        self.runner: Runner | None = None

    def parts(self) -> dict[str, Callable[[], str]]:
        """Name -> the function that builds and tries this part, in order."""
        return {
            'settings': self.settings,
            'loggers': self.loggers,
            'model': self.model,
            'data': self.data,
            'optimiser': self.optimiser,
            'weights': self.weights,
            'samples': self.samples,
        }

    def settings(self) -> str:
        """Names, types and ranges that are known before anything is built."""
        check_fields(self.cfg)
        return f'{len(set(self.cfg) & FIELDS)} are read'

    def loggers(self) -> str:
        """Check the loggers' settings; none is started, as some open a run on a server."""
        visualizer = self.cfg.get('visualizer') or {}
        backends = visualizer.get('vis_backends') or []
        names = []
        if not isinstance(backends, list | tuple):
            raise ConfigMistake(f'visualizer.vis_backends must be a list of dicts, got {shortened(backends)}')
        for i, backend in enumerate(backends):
            path = ('visualizer', 'vis_backends', i)
            if not isinstance(backend, Mapping):
                raise ConfigMistake(f'{dotted(path)} must be a dict, got {shortened(backend)}')
            target = resolve(backend.get('type'), VISBACKENDS, path)
            check_arguments(target, backend, path, {'save_dir': self.cfg.work_dir})
            names.append(target.__name__)
        if backends:
            visualizer.vis_backends = [dict(type='mmengine.LocalVisBackend')]
        return ', '.join(names) or 'none'

    def model(self) -> str:
        """Model and hooks."""
        loader = self.cfg.get('train_dataloader')
        if loader is None:
            raise ConfigMistake('train_dataloader is missing: there is nothing to train on')
        loader.num_workers = 0
        self.runner = launch.build_runner(self.cfg)
        model = unwrap(self.runner.model)
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return f'{type(model).__name__}, {count / 1e6:.1f} million trained parameters'

    def data(self) -> str:
        """The lists of files, proposals, annotations, and the loop."""
        runner = self.runner
        with building(runner.cfg):
            runner._train_loop = runner.build_train_loop(runner._train_loop)
            if runner._val_loop is not None:
                runner._val_loop = runner.build_val_loop(runner._val_loop)
        loader = runner.train_loop.dataloader
        return f'{len(loader.dataset)} entries, batches of {self._batch_size()}'

    def optimiser(self) -> str:
        """Optimiser, learning rate, schedules, and the hooks' preparations."""
        runner = self.runner
        with building(runner.cfg):
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
            runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
            if runner.param_schedulers is not None:
                runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
        runner.call_hook('before_run')
        rates = sorted({group['lr'] for group in runner.optim_wrapper.param_groups})
        span = f'{rates[0]:g}' if len(rates) == 1 else f'{rates[0]:g} to {rates[-1]:g}'
        return f'{type(runner.optim_wrapper.optimizer).__name__}, rates {span}'

    def weights(self) -> str:
        """Initialisation, the checkpoint to resume from, and the weights to start from."""
        runner = self.runner
        runner._init_model_weights()
        runner.load_or_resume()
        runner.optim_wrapper.initialize_count_status(runner.model, runner._train_loop.iter, 1)
        for hook in runner.hooks:
            if not isinstance(hook, GuardHook | ProbeHook):  # these would measure for minutes
                hook.before_train(runner)
        starts = [str(hook.checkpoint) for hook in runner.hooks if getattr(hook, 'report', None) is not None]
        loaded = ([str(self.cfg.load_from)] if self.cfg.get('load_from') else []) + starts
        return ', '.join(loaded) or 'random, or those of init_cfg'

    def samples(self) -> str:
        """Read some samples as in training."""
        data = self.runner.train_loop.dataloader.dataset
        chosen = evenly(len(data), SAMPLES)
        begin = time.time()
        for index in chosen:
            data[index]
        speed = len(chosen) / max(time.time() - begin, 1e-9)
        bad = getattr(data, 'unreadable', ())
        said = f'; {len(bad)} unreadable, replaced: {", ".join(bad[:3])}' if bad else ''
        return f'{len(chosen)} read, {speed:.0f} a second in one process{said}'

    def problems(self) -> dict[str, list[str]] | None:
        """Check -> sentences; None if there are no checks for this kind of training."""
        runner = self.runner
        if not isinstance(unwrap(runner.model), Pretrainer):
            return None
        runner.model.train()
        told: dict[str, list[str]] = {}
        for name, said in problems(runner):
            told.setdefault(name, []).append(said)
        return told

    def step(self) -> str:
        """One optimiser step; on a GPU with a whole batch."""
        runner = self.runner
        loader, model = runner.train_loop.dataloader, runner.model
        groups = getattr(unwrap(model), 'bn_groups', 1)
        whole = torch.cuda.is_available()
        size = self._batch_size() if whole else min(self._batch_size(), max(STEP, 2 * groups))
        keys = list(itertools.islice(itertools.chain.from_iterable(loader.batch_sampler), size))
        batch = loader.collate_fn([loader.dataset[key] for key in keys])
        model.train()
        begin = time.time()
        losses = model.train_step(batch, optim_wrapper=runner.optim_wrapper)
        broken = [name for name, value in losses.items() if not bool(torch.as_tensor(value).isfinite().all())]
        if broken:
            raise ConfigMistake(f'{", ".join(broken)} is not finite in the first step')
        unwrap(model).eval()
        loss = float(losses['loss'].detach())
        return f'loss {loss:.4g}, {len(keys)} images, {time.time() - begin:.1f} s on {get_device()}'

    def _batch_size(self) -> int:
        loader = self.runner.train_loop.dataloader
        return loader.batch_size or loader.batch_sampler.batch_size
