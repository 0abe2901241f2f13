"""Builds a runner from a config and a command line."""

import argparse
import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device
from mmengine.dist import init_dist
from mmengine.hub import get_config
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing

from densecl.building import ConfigMistake, building, walk
from densecl.compat.packages import config_root
from densecl.distributed import rank
from densecl.files import remove_leftovers
from densecl.messages import check_choice
from densecl.registry import MODELS

from .checks import StartChecksHook, allowed, check_folder, claimed
from .fields import MMENGINE_HOOKS, check_fields, merge_options
from .one_line import Progress
from .resume import answer_of_first, check_resumable, newest_whole
from .runner import LRScalingRunner, check_auto_scale_lr
from .safe_config import read_safely

#: Launchers whose processes can train without CUDA too, where mmengine's own start needs it, and the variable
#: by which each tells a process its number.
_NUMBER = dict(pytorch='RANK', slurm='SLURM_PROCID')


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that training and testing share, named as in the mm tools."""
    parser.add_argument('config', help='config file; package::path reaches installed packages')
    parser.add_argument('--work-dir', help='where logs and checkpoints go (work_dirs/<config name>)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override settings, key=value ...'
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument('--debug', action='store_true', help='show where an error came from')
    parser.add_argument(
        '--safe-config', action='store_true', help='read json and yaml dumps of configs only, and run no code'
    )


def read_config(path: str) -> Config:
    """Read a config file, or ``package::path`` of densecl's or an installed mm package's configs.

    Raises:
        FileNotFoundError: there is no such config.
    """
    package, _, name = path.rpartition('::')
    if package and package != 'densecl':
        return get_config(path)
    file = config_root() / name if package else Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f'{path}: no such config file; those of an installed densecl are reached as densecl::...'
        )
    beside = str(file.resolve().parent)
    if beside not in sys.path:  # modules of ``custom_imports`` may lie beside the config
        sys.path.append(beside)
    try:
        return with_own_options(Config.fromfile(file))
    except ImportError as error:
        if 'custom modules' not in str(error):
            raise
        cause = error.__cause__.__context__ or error.__cause__
        raise ConfigMistake(
            f'{path}: custom_imports: {cause}; modules are looked for beside the config and on PYTHONPATH'
        ) from error


def with_own_options(cfg: Config) -> Config:
    """Merge the config's ``cfg_options``: options of the command for which the file was written."""
    if options := cfg.pop('cfg_options', None):
        merge_options(cfg, options)
    return cfg


@contextlib.contextmanager
def telling_files(show: Callable[[str], Any]) -> Iterator[None]:
    """Inside this context note the Python files that are read as configs or bases; show them at the end."""
    found: dict[str, None] = {}
    readers = {name: getattr(Config, name) for name in ('_file2dict', '_parse_lazy_import')}

    def noting(read: Callable) -> Callable:
        def note(filename: str, *args, **kwargs) -> Any:
            if str(filename).endswith('.py'):
                found.setdefault(os.path.relpath(filename))
            return read(filename, *args, **kwargs)

        return note

    try:
        for name, read in readers.items():
            setattr(Config, name, staticmethod(noting(read)))
        yield
    finally:
        for name, read in readers.items():
            setattr(Config, name, staticmethod(read))
        if found:
            show(f'config files that were run: {", ".join(found)}')


def load_config(
    path: str, work_dir: str | None, options: dict | None, launcher: str, safe: bool = False
) -> Config:
    """Read a config and merge the options of the command line; see :func:`read_config`.

    Args:
        path: of the config.
        work_dir: the run's folder; None: the config's, or ``work_dirs/<its name>``.
        options: ``--cfg-options``.
        launcher: launcher of several processes, or ``'none'``.
        safe: see :func:`densecl.engine.safe_config.read_safely`.

    Raises:
        OSError: there is no such config.
        ConfigMistake: an option changes nothing, or does not fit into the config.
    """
    cfg = read_safely(path) if safe else read_config(path)
    if options:
        merge_options(cfg, options)
    cfg.launcher = launcher
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(path.split('::')[-1]).stem)
    return cfg


def use_amp(cfg: Config, dtype: str) -> None:
    """Train in mixed precision: ``'bf16'`` on any device, or ``'fp16'`` with dynamic loss scaling on CUDA."""
    wrapper, kind = cfg.optim_wrapper, amp_wrapper(dtype)
    known = ('OptimWrapper', *AMP_WRAPPERS.values())
    if wrapper.get('type', 'OptimWrapper') not in known:
        raise ValueError(f'--amp works with OptimWrapper, the config has {wrapper.type}')
    for key in ('dtype', 'loss_scale'):
        wrapper.pop(key, None)
    wrapper.type = kind
    if dtype == 'fp16':
        wrapper.update(dtype='float16', loss_scale='dynamic')


#: Mixed precision -> type of the optimiser's wrapper.
AMP_WRAPPERS = {'bf16': 'densecl.BF16OptimWrapper', 'fp16': 'AmpOptimWrapper'}


def amp_wrapper(dtype: str | None) -> str:
    """The type of the optimiser's wrapper for ``'bf16'``, ``'fp16'`` or None.

    Raises:
        ValueError: another one, or ``'fp16'`` without a GPU.
    """
    check_choice('amp', dtype, (None, *AMP_WRAPPERS))
    if dtype == 'fp16' and get_device() == 'cpu':
        raise ValueError('--amp fp16 needs a GPU; --amp bf16 runs on this CPU')
    return AMP_WRAPPERS.get(dtype, 'OptimWrapper')


def use_checkpoint_activations(cfg: Config) -> None:
    """Save memory: recompute the backbone's blocks in the backward pass; see ``Pretrainer``."""
    _pretrainer(cfg, '--checkpoint-activations').checkpoint_activations = True


def use_compile(cfg: Config) -> None:
    """Compile the backbones; see ``Pretrainer``."""
    model = _pretrainer(cfg, '--compile')
    model.compile_backbone = model.get('compile_backbone') or True


def use_shard(cfg: Config) -> None:
    """Shard parameters, gradients and optimiser state over the processes; see ``densecl.engine.shard``.

    Raises:
        ValueError: there is a single process, or a hook reads the weights in process 0 only.
    """
    _pretrainer(cfg, '--shard')
    if cfg.launcher == 'none':
        raise ValueError('--shard spreads the model over several processes: start them, tools/dist_train.sh')
    for hook in cfg.get('custom_hooks') or []:
        if str(hook.get('type')).endswith(('GuardHook', 'ProbeHook')):
            raise ValueError(
                f'--shard: custom_hooks has {hook.type}, which reads the backbone in process 0 alone, where '
                'a part of it is: leave it out, and measure the checkpoints with densecl probe'
            )
    cfg.model_wrapper_cfg = dict(type='FullyShard')


def _pretrainer(cfg: Config, flag: str) -> ConfigDict:
    """The model of a pretraining config.

    Raises:
        ValueError: it is a detector or a segmenter.
    """
    from densecl.models.pretrainers import Pretrainer

    kind = cfg.model.type
    with contextlib.suppress(KeyError, RuntimeError):  # who builds the model says that it is not known
        scope = cfg.get('default_scope')
        found = (MODELS.get(kind) or MODELS.get(f'{scope}.{kind}')) if isinstance(kind, str) else kind
        if isinstance(found, type) and not issubclass(found, Pretrainer):
            raise ValueError(
                f'{flag} is for pretraining, but model.type of this config is {kind}: leave it out'
            )
    return cfg.model


def use_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate to the batch size of this run; see ``LRScalingRunner``."""
    check_auto_scale_lr(cfg.get('auto_scale_lr') or {})
    cfg.auto_scale_lr.enable = True


def use_plain_batch_norm(cfg: ConfigDict) -> int:
    """Replace every SyncBN by BN, for a single process; returns the number of replacements.

    With one process both compute the same, but SyncBN does not run on a CPU.
    """
    found = [node for _, node in walk([cfg]) if isinstance(node, dict) and node.get('type') == 'SyncBN']
    for node in found:
        node['type'] = 'BN'
    return len(found)


def use_resume(cfg: Config, resume: str | None) -> None:
    """Resume: ``'auto'`` takes the newest whole checkpoint in the work directory, a path takes that file.

    Of several processes the first one chooses for all. The others may see other files; on a network disk they
    may see older ones. The process group is started for this.

    Raises:
        FileNotFoundError, ValueError, pickle.UnpicklingError: there is no checkpoint, or none is whole.
    """
    if resume is None:
        return
    join_group(cfg)
    found = answer_of_first(lambda: _resumable(cfg, resume))
    if found is not None and not found.is_file():
        raise FileNotFoundError(
            f'--resume: process {rank()} does not see {found}, where process 0 goes on: all of them must see '
            'the same files, on a disk that the machines share'
        )
    cfg.resume = found is not None
    if cfg.resume:
        cfg.load_from = str(found)
    else:
        print_log(f'--resume: no checkpoint in {cfg.work_dir} yet, starting anew', 'current')


def _resumable(cfg: Config, resume: str) -> Path | None:
    if resume == 'auto':
        return newest_whole(cfg.work_dir)
    path = Path(resume)
    if not path.is_file():
        raise FileNotFoundError(f'--resume {resume}: no such checkpoint')
    check_resumable(path)
    return path


def use_pretrained(cfg: Config, weights: str) -> None:
    """Start backbone (and neck) from weights, a file or a name; this replaces the config's own start."""
    from densecl.transfer.start_files import locate

    locate(weights)  # fail here, before the model is built
    hooks = cfg.get('custom_hooks') or []
    hooks = [h for h in hooks if h.get('part') or not str(h['type']).endswith('PretrainedHook')]
    cfg.custom_hooks = [*hooks, dict(type='densecl.PretrainedHook', checkpoint=weights)]


def save_on_signal(cfg: Config) -> None:
    """Make any training save and exit on a signal; see ``TerminateHook``."""
    hooks = cfg.get('custom_hooks', [])
    if not any('TerminateHook' in str(hook.get('type')) for hook in hooks):
        cfg.custom_hooks = [*hooks, dict(type='densecl.TerminateHook')]


def use_safe_checkpoints(cfg: Config) -> None:
    """Write the checkpoints of any training, also of a detector, with ``PretrainCheckpointHook``."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if hook.get('type') == 'CheckpointHook':
        hook.type = 'densecl.PretrainCheckpointHook'


def fill_teachers(cfg: Config) -> None:
    """If a head's target names weights (``start``) or ``maps``, add the hook that loads them."""
    heads = (cfg.get('model') or {}).get('heads')
    heads = heads.values() if isinstance(heads, dict) else ()
    targets = [head.get('target') for head in heads if isinstance(head, dict)]
    hooks = cfg.get('custom_hooks') or []
    there = any('TeacherHook' in str(hook.get('type')) for hook in hooks)
    if not there and any(isinstance(target, dict) and target.get('start') for target in targets):
        cfg.custom_hooks = [*hooks, dict(type='densecl.TeacherHook')]
    maps = sorted({target['maps'] for target in targets if isinstance(target, dict) and target.get('maps')})
    if maps:
        dataset = cfg.train_dataloader.dataset
        dataset.maps = sorted({*dataset.get('maps', ()), *maps})


def share_seed(cfg: Config) -> None:
    """Use ``randomness.seed`` for the views too, unless the data set has its own seed."""
    loader = cfg.get('train_dataloader') or {}
    seed = cfg.get('randomness', {}).get('seed')
    kind = str(loader.get('dataset', {}).get('type')).rpartition('.')[2]
    if kind in ('PretrainDataset', 'TextDataset') and seed is not None:
        loader.dataset.setdefault('seed', seed)


def check_launcher(cfg: Config) -> None:
    """Refuse a launcher that did not start this process.

    Raises:
        ValueError: the variable by which the launcher tells a process its number is not set.
    """
    launcher = cfg.get('launcher', 'none')
    number = _NUMBER.get(launcher)
    if number is not None and number not in os.environ:
        starts = dict(pytorch='torchrun (tools/dist_train.sh)', slurm='srun (tools/slurm_train.sh)')
        raise ValueError(
            f'--launcher {launcher}: this process was not started by {starts[launcher]}, as {number} is not '
            'set; for a single process leave --launcher out'
        )


def join_group(cfg: Config) -> None:
    """Start the launcher's process group if there is none, as a runner does; without CUDA with gloo.

    Raises:
        ValueError: this process was not started by the launcher.
    """
    if cfg.get('launcher', 'none') == 'none' or dist.is_initialized():
        return
    check_launcher(cfg)
    environment = cfg.get('env_cfg') or {}
    options = environment.get('dist_cfg') or {}
    if cfg.launcher in _NUMBER and not torch.cuda.is_available():
        if cfg.launcher == 'slurm':
            _read_slurm(options.get('port'))
        dist.init_process_group('gloo', timeout=timedelta(seconds=options.get('timeout', 1800)))
    else:
        set_multi_processing(**(environment.get('mp_cfg') or {}), distributed=True)
        init_dist(cfg.launcher, **options)


def _read_slurm(port: int | None) -> None:
    """Tell torch of the tasks of a Slurm step, as mmengine does where there are GPUs."""
    nodes = os.environ['SLURM_NODELIST']
    if 'MASTER_ADDR' not in os.environ:
        names = subprocess.run(
            ['scontrol', 'show', 'hostnames', nodes], capture_output=True, text=True, check=True
        )
        os.environ['MASTER_ADDR'] = names.stdout.split()[0]
    os.environ['MASTER_PORT'] = str(port or os.environ.get('MASTER_PORT', 29500))
    os.environ['RANK'] = os.environ['SLURM_PROCID']
    os.environ['LOCAL_RANK'] = os.environ['SLURM_LOCALID']
    os.environ['WORLD_SIZE'] = os.environ['SLURM_NTASKS']


def use_gloo_without_gpu(cfg: Config) -> None:
    """Let several processes train on a machine without CUDA, although mmengine requires a GPU there."""
    if cfg.launcher not in _NUMBER or torch.cuda.is_available():
        return
    join_group(cfg)
    # mmengine's default wrapper requires a GPU.
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    if wrapper['type'] != 'FullyShard':
        cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
    if cfg.pop('sync_bn', None):  # SyncBN does not run on a CPU
        use_plain_batch_norm(cfg._cfg_dict)
        print_log(
            'without a GPU batch statistics are those of each process: sync_bn is left out',
            'current',
            logging.WARNING,
        )


def check_batch_statistics(cfg: Config) -> None:
    """Refuse ``sync_bn`` together with ``model.bn_groups``.

    Raises:
        ValueError: the config has both; the conversion to SyncBN would drop the groups.
    """
    groups = (cfg.get('model') or {}).get('bn_groups', 1)
    if cfg.get('sync_bn') and groups > 1:
        raise ValueError(
            f'sync_bn={cfg.sync_bn!r} takes batch statistics over all processes, model.bn_groups={groups} '
            'over parts of a process: set sync_bn=None or model.bn_groups=1'
        )


def check_ramps(cfg: Config) -> None:
    """Refuse ``lr_ramp`` if nothing uses it.

    Raises:
        ValueError: a rule of the optimiser has ``lr_ramp``, but no ``ParamSchedule`` drives ``lr``.
    """
    rules = ((cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}).get('rules') or []
    ramps = [key for rule in rules for key in rule if key.endswith('_ramp')]
    schedulers = cfg.get('param_scheduler') or []
    driven = [s.get('param_name') for s in (schedulers if isinstance(schedulers, list) else [schedulers])]
    for key in ramps:
        if key.removesuffix('_ramp') not in driven:
            raise ValueError(
                f'optim_wrapper.paramwise_cfg.rules: {key} needs a ParamSchedule of '
                f'{key.removesuffix("_ramp")!r} in param_scheduler, which makes the ramp'
            )


def use_fused(cfg: Config) -> None:
    """On CUDA use torch's fused optimiser, if there is one and the config does not set ``fused``."""
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    decided = optimizer.keys() & {'fused', 'foreach', 'capturable', 'differentiable'}
    # Torch's fused SGD cannot step sharded parameters.
    sharded = (cfg.get('model_wrapper_cfg') or {}).get('type') == 'FullyShard'
    known = ('Adam', 'AdamW') if sharded else ('SGD', 'Adam', 'AdamW')
    if torch.cuda.is_available() and optimizer.get('type') in known and not decided:
        optimizer.fused = True


def leave_group() -> None:
    """End the process group, if there is one, while all processes are still running."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def build_runner(cfg: Config) -> Runner:
    """The config's runner; by default mmengine's with the rules of ``LRScalingRunner`` for ``auto_scale_lr``.

    Raises:
        ConfigMistake: a setting is not possible. Errors of the parts get their place in the config.
    """
    check_fields(cfg)
    leave_out_hooks(cfg)
    wrapper = cfg.get('model_wrapper_cfg')
    if wrapper and wrapper.type != 'FullyShard' and 'find_unused_parameters' in cfg:
        wrapper.setdefault('find_unused_parameters', cfg.find_unused_parameters)  # where mmengine reads it
    check_launcher(cfg)
    remove_leftovers(cfg.work_dir)
    if cfg.get('resume') and cfg.get('load_from') is None:
        use_resume(cfg, 'auto')
    use_safe_checkpoints(cfg)
    share_seed(cfg)
    fill_teachers(cfg)
    use_gloo_without_gpu(cfg)
    if cfg.launcher == 'none':
        use_plain_batch_norm(cfg._cfg_dict)
        cfg.pop('sync_bn', None)
    check_batch_statistics(cfg)
    check_ramps(cfg)
    use_fused(cfg)
    use_own_visualizer(cfg)
    use_no_workers(cfg)
    with building(cfg):
        return RUNNERS.build(cfg) if 'runner_type' in cfg else LRScalingRunner.from_cfg(cfg)


def leave_out_hooks(cfg: Config) -> None:
    """Take away the ``default_hooks`` that are None; of its own hooks mmengine wants to see the None."""
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None and name not in MMENGINE_HOOKS]:
        hooks.pop(name)


def use_own_visualizer(cfg: Config) -> None:
    """Make each run of a process write its figures into its own folder; changes ``cfg``.

    mmengine keeps a visualizer by its name for the whole process. mmdet and mmseg call all of theirs
    ``'visualizer'``, so a second run in a notebook would write into the folder of the first. Without a name
    mmengine uses the name of the run.
    """
    if isinstance(cfg.get('visualizer'), dict):
        cfg.visualizer.pop('name', None)


def use_no_workers(cfg: Config) -> None:
    """Leave out settings of workers where there are none (``num_workers=0``); changes ``cfg``."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if isinstance(loader, dict) and loader.get('num_workers') == 0:
            for key in ('persistent_workers', 'prefetch_factor'):
                loader.pop(key, None)


def train(cfg: Config, progress: Progress | None = None) -> Runner:
    """Build and train, with the checks of :mod:`.checks` before the first step.

    Raises:
        ConfigMistake: the folder has another run, one is running there, or a check found a problem.
    """
    allow = allowed(cfg)
    if not cfg.get('resume') and 'folder' not in allow:
        check_folder(cfg.work_dir)
    runner = build_runner(cfg)
    runner.register_hook(StartChecksHook(allow))
    if progress is not None:
        progress.runner = runner
    with claimed(cfg.work_dir) if rank() == 0 else contextlib.nullcontext():
        runner.train()
    return runner
