"""mmengine's runner with learning rates scaled to the batch size, sharded models, and images listed once."""

import itertools
import logging
import math
import shutil
from pathlib import Path

from mmengine.device import get_device
from mmengine.dist import broadcast
from mmengine.logging import MMLogger
from mmengine.model import convert_sync_batchnorm
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import nn

from densecl.building import building
from densecl.files import FULL, checkpoints_of
from densecl.messages import check_choice
from densecl.provenance import log_line
from densecl.registry import RUNNERS

from .resume import changed_settings, check_together
from .shard import keep_state_whole, shard
from .shared_source import with_shared_source

_RUNS = itertools.count()
#: First words of the log records that are hundreds of lines long, or of no use to a user.
_IN_FILE_ONLY = (
    f'\n{"-" * 60}\nSystem environment', 'Config:\n', 'Hooks will be executed',
    'Exp name: ', '"FileClient" will be deprecated', '"HardDiskBackend" is the alias',
)  # fmt: skip
#: How many changed settings a resumed run names.
_TOLD = 6
_RULES = {'linear': lambda ratio: ratio, 'sqrt': math.sqrt}


def check_auto_scale_lr(cfg: dict) -> None:
    """Check ``auto_scale_lr`` of a config.

    Raises:
        ValueError: the batch size is missing or the rule unknown.
    """
    if not cfg.get('base_batch_size', 0) > 0:
        raise ValueError(
            '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config: '
            f'the batch size that its learning rate was made for; got {dict(cfg)}'
        )
    check_choice('auto_scale_lr.rule', cfg.get('rule', 'linear'), _RULES)


@RUNNERS.register_module()
class LRScalingRunner(Runner):
    """mmengine's runner with other rules for ``auto_scale_lr``.

    ``auto_scale_lr=dict(base_batch_size=B, rule='linear' | 'sqrt', enable=...)`` multiplies the learning
    rate of every group by b/B (Goyal et al., arXiv:1706.02677) or by its square root (SimCLR, appendix B.1).
    The batch size b is images per process x processes x accumulated iterations. mmengine has only the linear
    rule and ignores accumulation.

    mmengine names a run by the second in which it started, and runs of the same name share log and records.
    So the second and later runs of a process get a number here, which keeps short runs separate.
    """

    def __init__(self, *args, experiment_name: str | None = None, **kwargs) -> None:
        number = next(_RUNS)
        if number:
            file = getattr(kwargs.get('cfg'), 'filename', None)
            experiment_name = f'{experiment_name or Path(file or "run").stem}-{number}'
        super().__init__(*args, experiment_name=experiment_name, **kwargs)

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """As mmengine's; but environment, config and order of hooks (400 lines) go to the log file only."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(lambda record: not record.getMessage().startswith(_IN_FILE_ONLY))
        logger.info(f'environment and config: {self._log_dir}/{self.timestamp}.log')
        return logger

    def train(self) -> nn.Module:
        """As mmengine's; but process 0 lists the images for all, see :mod:`.shared_source`.

        ``begin(runner)`` of hooks that have it is called before everything else. After an error
        ``failed(runner, error)`` of hooks that have it is called, and the error is raised again.

        Raises:
            SystemExit: the disk is full.
        """
        self.logger.info(log_line())
        for hook in self.hooks:
            if hasattr(hook, 'begin'):
                hook.begin(self)
        for handler in self.logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handleError = _raise
        try:
            self._train_dataloader = with_shared_source(self._train_dataloader)
            with building(self.cfg):
                return super().train()
        except Exception as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise SystemExit(_no_space(self.work_dir, error)) from None
            for hook in self.hooks:
                if hasattr(hook, 'failed'):
                    hook.failed(self, error)
            raise

    def load_or_resume(self) -> None:
        """As mmengine's; raises in all processes if they would continue at different iterations."""
        super().load_or_resume()
        check_together(self.iter, self.work_dir)

    def load_checkpoint(self, *args, **kwargs) -> dict:
        """As mmengine's, but drops the config that mmengine < 0.5 stored: a resume would run it as code."""
        checkpoint = super().load_checkpoint(*args, **kwargs)
        checkpoint.get('meta', {}).pop('config', None)
        self._loaded_cfg = checkpoint.get('meta', {}).get('cfg')
        return checkpoint

    def resume(self, *args, **kwargs) -> None:
        """As mmengine's; and tells the settings that differ from those in the checkpoint."""
        super().resume(*args, **kwargs)
        changed = changed_settings(self._loaded_cfg, self.cfg)
        if changed:
            more = f'; and {len(changed) - _TOLD} more' if len(changed) > _TOLD else ''
            self.logger.warning(
                f'goes on with other settings than before: {"; ".join(changed[:_TOLD])}{more}'
            )

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """As mmengine's; ``model_wrapper_cfg=dict(type='FullyShard')``: see :func:`.shard.shard`."""
        self._sharded = (model_wrapper_cfg or {}).get('type') == 'FullyShard'
        if not self._sharded:
            return super().wrap_model(model_wrapper_cfg, model)
        if self.cfg.get('sync_bn'):
            model = convert_sync_batchnorm(model, self.cfg.sync_bn)
        model = model.to(get_device())
        model.init_weights()  # before the parameters are sharded
        for tensor in model.state_dict().values():
            broadcast(tensor)
        return shard(model)

    def _init_model_weights(self) -> None:
        if not self._sharded:
            super()._init_model_weights()

    def build_optim_wrapper(self, optim_wrapper) -> OptimWrapper:
        """As mmengine's; the state of a sharded optimiser is saved and read as whole tensors."""
        built = isinstance(optim_wrapper, OptimWrapper)
        wrapper = super().build_optim_wrapper(optim_wrapper)
        if self._sharded and not built:
            keep_state_whole(wrapper.optimizer)
        return wrapper

    def save_checkpoint(self, *args, **kwargs) -> None:
        """As mmengine's, in process 0; for a sharded model the other processes send their parts.

        Before it saves, every process calls ``check_weights(runner)`` of hooks that have it; they may raise.
        """
        for hook in self.hooks:
            if hasattr(hook, 'check_weights'):
                hook.check_weights(self)
        if self._sharded and self.rank != 0:
            self.model.state_dict()
            if kwargs.get('save_optimizer', True):
                self.optim_wrapper.state_dict()
        super().save_checkpoint(*args, **kwargs)

    def dump_config(self) -> None:
        """Write the whole config into the work directory; never overwrite the file it was read from."""
        own, read = Path(self.work_dir) / Path(self.cfg.filename or '').name, Path(self.cfg.filename or '')
        if not (self.cfg.filename and own.exists() and own.samefile(read)):
            super().dump_config()
        elif self.rank == 0:
            self.cfg.dump(own.with_name(f'{own.stem}_whole.py'))

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale the learning rates, before the schedulers take them as their initial values.

        Raises:
            ValueError: the batch size is missing or the rule unknown.
        """
        auto_scale_lr = auto_scale_lr or {}
        if not auto_scale_lr.get('enable', False):
            self._warn_of_other_batch(optim_wrapper, auto_scale_lr.get('base_batch_size'))
            return
        check_auto_scale_lr(auto_scale_lr)
        base, rule = auto_scale_lr['base_batch_size'], auto_scale_lr.get('rule', 'linear')
        several = isinstance(optim_wrapper, OptimWrapperDict)
        for wrapper in optim_wrapper.values() if several else [optim_wrapper]:
            images, text = self._images_per_step(wrapper)
            factor = _RULES[rule](images / base)
            before = wrapper.optimizer.param_groups[0]['lr']
            for group in wrapper.param_groups:  # also the base settings that mmengine logs
                group['lr'] *= factor
            self.logger.info(
                f'lr {before:.6g} -> {before * factor:.6g} (auto_scale_lr, rule {rule!r}: '
                f'{images} images a step = {text}; the config is made for {base})'
            )

    def _warn_of_other_batch(self, optim_wrapper: OptimWrapper, base: int | None) -> None:
        """Warn if the batch size differs from the one that the learning rate was chosen for."""
        if base is None or isinstance(optim_wrapper, OptimWrapperDict):
            return
        images, text = self._images_per_step(optim_wrapper)
        if images != base:
            self.logger.warning(
                f'{images} images a step ({text}), but the learning rate is made for {base}: '
                '--auto-scale-lr scales it'
            )

    def _images_per_step(self, wrapper: OptimWrapper) -> tuple[int, str]:
        """Number of images per optimiser step, and the product it comes from, as text."""
        loader = self._train_dataloader
        images = loader['batch_size'] if isinstance(loader, dict) else loader.batch_size
        counts = wrapper._accumulative_counts
        text = f'{images} x {self.world_size} processes x {counts} accumulated'
        return images * self.world_size * counts, text


def _raise(record: logging.LogRecord) -> None:
    """Raise the error; replaces ``Handler.handleError``, which prints it and continues."""
    raise  # noqa: PLE0704  (it is called where the error is handled)


def _no_space(folder: str, error: OSError) -> str:
    free = shutil.disk_usage(folder).free / 2**20
    saved = checkpoints_of(folder)
    last = f'{saved[0]} is whole' if saved else 'there is no checkpoint yet'
    return (
        f'{folder}: {error.strerror} ({free:,.1f} MB free), so the run has stopped; {last}: '
        'make room and go on with --resume'
    )
