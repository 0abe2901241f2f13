"""Which settings of a config are read by some code, and what ``--cfg-options`` may change."""

import inspect
import keyword
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, MODEL_WRAPPERS, OPTIMIZERS, Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, LogProcessor, Runner
from torch.utils.data import DataLoader

from densecl.building import ConfigMistake, check_arguments, one_line, resolve, walk, warn
from densecl.signatures import listed, nearest, shortened

from .checks import allowed

#: Top-level settings that are read when a run is built; all other names are variables of config files.
FIELDS = {
    *(set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}),
    'activation_checkpointing',
    'allow',
    'compile',
    'custom_imports',
    'default_scope',
    'detect_anomalous_params',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}
_DICT, _LIST = (Mapping, 'a dict'), (list | tuple, 'a list of dicts')
#: Settings that are read before anything is built.
_KINDS = {
    **dict.fromkeys(('model', 'default_hooks', 'optim_wrapper', 'train_dataloader', 'train_cfg'), _DICT),
    **dict.fromkeys(('randomness', 'auto_scale_lr', 'env_cfg', 'model_wrapper_cfg'), _DICT),
    **dict.fromkeys(('visualizer', 'log_processor'), _DICT),
    'custom_hooks': _LIST,
    'param_scheduler': (list | tuple | Mapping, 'a list of dicts'),
}
#: Those that cannot be None.
_NEEDED = ('model', 'randomness', 'env_cfg')
_PLAIN = str | int | float | list | tuple | Mapping
_ABSENT = object()
#: Hooks that mmengine adds where ``default_hooks`` does not name them.
MMENGINE_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def check_fields(cfg: Config) -> None:
    """Check settings that are read by name and not passed to a class: top-level names, loaders, seeds.

    A name that resembles a setting is refused only if that setting is missing; else it is a variable.

    Raises:
        ConfigMistake: no code reads a key.
    """
    for key, value in cfg.items():
        near = near_setting(key)
        if key not in FIELDS and near is not None and isinstance(value, dict | list | tuple):
            said = f'{key}: nobody reads this; did you mean {near}?'
            _refuse_or_warn(said, near in cfg or 'names' in allowed(cfg))
    if 'model' not in cfg:
        near = nearest('model', [key for key in cfg if key not in FIELDS])
        said = (
            f'{near}: nobody reads this; did you mean model?' if near else 'model is missing: dict(type=...)'
        )
        raise ConfigMistake(said)
    for path in _keywords(cfg._cfg_dict):
        raise ConfigMistake(f'{path}: a name of Python itself, which no config file can hold; choose another')
    for key, (kind, wanted) in _KINDS.items():
        value = cfg.get(key)
        wrong = isinstance(value, _PLAIN) and not isinstance(value, kind)  # built objects are not checked
        if wrong or value is None and key in cfg and key in _NEEDED:
            raise ConfigMistake(f'{key} must be {wanted}, got {shortened(value)}')
    for name in _LOADERS:
        if isinstance(cfg.get(name), Mapping):
            _check_loader(cfg[name], name)
    for path, reader in _READERS.items():
        node: Any = cfg._cfg_dict
        for key in path:
            node = node.get(key, _ABSENT) if isinstance(node, Mapping) else _ABSENT
        if node is None and len(path) > 1:
            raise ConfigMistake(f'{".".join(path)} must be a dict, got None')
        if isinstance(node, Mapping):
            if 'type' in node:  # of other settings those who build read it
                raise ConfigMistake(f'{".".join(path)}.type: {".".join(path)} is not built and has no type')
            check_arguments(reader, node, path)
    _check_values(cfg)
    _check_loop(cfg)
    _check_types(cfg)
    hooks = [('custom_hooks', *pair) for pair in enumerate(cfg.get('custom_hooks') or ())]
    hooks += [('default_hooks', *pair) for pair in (cfg.get('default_hooks') or {}).items()]
    for part, name, hook in hooks:
        if hook is None and part == 'default_hooks':  # left out
            continue
        if not isinstance(hook, Mapping | Hook):
            raise ConfigMistake(f"{part}.{name} must be dict(type='...Hook', ...), got {shortened(hook)}")
        _need_type(hook, f'{part}.{name}', 'hook')


def _check_values(cfg: Config) -> None:
    """Check what is read before anything is built."""
    seed = (cfg.get('randomness') or {}).get('seed')
    if seed is not None and not 0 <= seed < 2**32:
        raise ConfigMistake(f'randomness.seed must be from 0 to 2**32 - 1, got {seed}')
    threads = ((cfg.get('env_cfg') or {}).get('mp_cfg') or {}).get('opencv_num_threads', 0)
    if not isinstance(threads, int) or not 0 <= threads < 2**31:
        raise ConfigMistake(
            f'env_cfg.mp_cfg.opencv_num_threads must be a whole number, 0 or more, got {shortened(threads)}'
        )
    scope = cfg.get('default_scope')
    if scope is not None and not (isinstance(scope, str) and scope):
        raise ConfigMistake(f'default_scope must be the name of a package, got {shortened(scope)}')


def _check_loop(cfg: Config) -> None:
    """Check a loop without a type, which mmengine builds from ``by_epoch``."""
    loop = cfg.get('train_cfg')
    if not isinstance(loop, Mapping) or 'type' in loop:
        return
    if 'by_epoch' not in loop:
        raise ConfigMistake(
            'train_cfg.type is missing: EpochBasedTrainLoop, IterBasedTrainLoop or a loop of yours'
        )
    own = {key: value for key, value in loop.items() if key != 'by_epoch'}
    kind = EpochBasedTrainLoop if loop['by_epoch'] else IterBasedTrainLoop
    check_arguments(kind, own, ('train_cfg',), {'runner': None, 'dataloader': None})


def _check_types(cfg: Config) -> None:
    """Check types that mmengine looks up itself, or only if there are several processes."""
    _need_type(cfg.model, 'model', 'model')
    optim = cfg.get('optim_wrapper') or {}
    optimizer = optim.get('optimizer')
    if isinstance(optimizer, _PLAIN) and not isinstance(optimizer, Mapping):
        raise ConfigMistake(f'optim_wrapper.optimizer must be a dict, got {shortened(optimizer)}')
    if 'type' in optim and optimizer is None and 'constructor' not in optim:
        raise ConfigMistake('optim_wrapper.optimizer is missing: the config of an optimiser')
    _need_type(optimizer, 'optim_wrapper.optimizer', 'optimiser')
    if isinstance(optimizer, Mapping):
        _in_scope(cfg, optimizer['type'], OPTIMIZERS, ('optim_wrapper', 'optimizer'))
    _need_type(cfg.get('visualizer'), 'visualizer', 'visualizer')
    processor = cfg.get('log_processor')
    if isinstance(processor, Mapping) and 'type' not in processor:  # mmengine takes its own
        check_arguments(LogProcessor, processor, ('log_processor',))
    wrapper = (cfg.get('model_wrapper_cfg') or {'type': 'FullyShard'}).get('type')
    if wrapper is None:
        raise ConfigMistake('model_wrapper_cfg.type is missing: it names the wrapper to be built')
    if wrapper != 'FullyShard':  # handled by LRScalingRunner.wrap_model, not in a registry
        path = ('model_wrapper_cfg',)
        found = _in_scope(cfg, wrapper, MODEL_WRAPPERS, path)
        check_arguments(found, cfg.model_wrapper_cfg, path, {'module': None})
    if cfg.get('sync_bn') not in (None, False, 'torch', 'mmcv'):
        raise ConfigMistake(f"sync_bn must be 'torch', 'mmcv' or None, got {shortened(cfg.sync_bn)}")
    schedulers = cfg.get('param_scheduler')
    if optimizer is not None:
        _need_type(schedulers, 'param_scheduler', 'schedule')
    for i, scheduler in enumerate(schedulers if isinstance(schedulers, list | tuple) else ()):
        if isinstance(scheduler, _PLAIN | None) and not isinstance(scheduler, Mapping):
            raise ConfigMistake(f'param_scheduler.{i} must be a dict, got {shortened(scheduler)}')
        _need_type(scheduler, f'param_scheduler.{i}', 'schedule')
    for name in cfg.get('default_hooks') or ():
        near = nearest(name, MMENGINE_HOOKS, 0.75)
        if name not in MMENGINE_HOOKS and near is not None:
            warn(f'default_hooks.{name} runs beside default_hooks.{near}: is {near} meant?')


def _need_type(config: Any, place: str, what: str) -> None:
    """Refuse the config of a part that has no type; other values are not checked."""
    if isinstance(config, Mapping) and 'type' not in config:
        raise ConfigMistake(f'{place}.type is missing: it names the {what} to be built')


def _in_scope(cfg: Config, name: Any, registry: Registry, path: tuple[str, ...]) -> Callable:
    """The class or function that a type names in the scope that the run will have."""
    with registry.switch_scope_and_registry(cfg.get('default_scope')) as found:
        return resolve(name, found, path)


def near_setting(name: str) -> str | None:
    """The setting that a top-level name is probably a misspelling of."""
    return nearest(name, FIELDS - {'tta_pipeline', 'tta_model'}, 0.85)


def _keywords(node: Any) -> Iterator[str]:
    """Paths of keys that cannot be written as ``dict(key=...)``, the form in which mmengine saves configs."""
    yield from ('.'.join(map(str, path)) for path, _ in walk(node) if keyword.iskeyword(str(path[-1])))


def _check_loader(loader: Mapping, name: str) -> None:
    own = {key: value for key, value in loader.items() if key != 'num_batch_per_epoch'}
    check_arguments(DataLoader, own, (name,))
    for key, wanted in (('batch_size', 'images of a process in one step'), ('sampler', 'dict(type=...)')):
        if key not in loader:
            raise ConfigMistake(f'{name}.{key} is missing: {wanted}')
    for key in ('dataset', 'sampler'):
        if isinstance(loader[key], _PLAIN | None) and not isinstance(loader[key], Mapping):
            raise ConfigMistake(f'{name}.{key} must be a dict, got {shortened(loader[key])}')
    if loader.get('num_workers', 0) < 0:
        raise ConfigMistake(f'{name}.num_workers must not be negative, got {loader["num_workers"]}')
    for key in ('collate_fn', 'worker_init_fn'):
        function = loader.get(key)
        if isinstance(function, Mapping) and isinstance(function.get('type'), str):
            target = resolve(function['type'], FUNCTIONS, (name, key))
            if key == 'collate_fn':
                check_arguments(target, function, (name, key), dict.fromkeys(_first(target)))


def _first(target: Any) -> tuple[str, ...]:
    """The name of a function's first positional argument."""
    return tuple(inspect.signature(target).parameters)[:1] if callable(target) else ()


def _randomness(seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False) -> None:
    """The settings of ``randomness``."""


def _auto_scale_lr(base_batch_size: int = 0, enable: bool = False, rule: str = 'linear') -> None:
    """The settings of ``auto_scale_lr``."""


def _environment(
    cudnn_benchmark: bool = False,
    mp_cfg: dict | None = None,
    dist_cfg: dict | None = None,
    resource_limit: int | None = None,
) -> None:
    """The settings of ``env_cfg``."""


def _processes(
    mp_start_method: Literal['fork', 'spawn', 'forkserver'] = 'fork', opencv_num_threads: int = 0
) -> None:
    """The settings of ``env_cfg.mp_cfg``."""


def _group(
    backend: str = 'nccl',
    init_backend: str = 'torch',
    timeout: float | None = None,
    port: int | None = None,
    init_method: str | None = None,
    world_size: int = -1,
    rank: int = -1,
    store: Any = None,
    group_name: str = '',
    pg_options: Any = None,
    device_id: Any = None,
) -> None:
    """The settings of ``env_cfg.dist_cfg``: those of mmengine, then those of ``init_process_group``."""


_READERS: dict[tuple[str, ...], Callable] = {
    ('randomness',): _randomness,
    ('auto_scale_lr',): _auto_scale_lr,
    ('env_cfg',): _environment,
    ('env_cfg', 'mp_cfg'): _processes,
    ('env_cfg', 'dist_cfg'): _group,
}


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Change a config by ``--cfg-options``; all at once, as their order has no meaning.

    Raises:
        ConfigMistake: no code reads the setting of an option, or the option does not fit into the config.
    """
    meant = allowed({'allow': options.get('allow', cfg.get('allow'))})
    # A user's own code can read any name of the config.
    free = 'names' in meant or bool(cfg.get('custom_imports'))
    for key in options:
        if key.partition('.')[0] not in FIELDS:
            _refuse_or_warn(f'--cfg-options {key}: {_unread(cfg, key)}', free)
        _check_place(cfg, key, options)
    try:
        cfg.merge_from_dict(dict(options))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ConfigMistake(f'--cfg-options {" ".join(options)}: {one_line(error)}') from error


def _refuse_or_warn(said: str, free: bool) -> None:
    if not free:
        raise ConfigMistake(f'{said} (meant so: --cfg-options allow=names)')
    warn(said)


def _unread(cfg: Config, key: str) -> str:
    """The error message for a top-level name that is no setting."""
    name = key.partition('.')[0]
    if name in cfg:
        places = [p for p, value in _leaves(cfg) if value == cfg[name]][:2]
        instead = ' or '.join(places) if places else 'the settings that it went into'
        return (
            f'{name} is a variable of the config file, which nobody reads any more once it was read; '
            f'give {instead}'
        )
    near = nearest(name, FIELDS)
    said = f'; did you mean {near}?' if near else f': {listed(sorted(FIELDS), 40)}'
    return f'there is no setting {name}{said}'


def _check_place(cfg: Config, key: str, options: Mapping[str, Any]) -> None:
    """Refuse what mmengine cannot merge: indices beyond a list, keys of a value that is no dict."""
    names = key.split('.')
    node: Any = cfg
    for i, name in enumerate(names):
        place = '.'.join(names[:i])
        if place in options or f'{place}._delete_' in options:
            return  # the whole value is replaced
        if isinstance(node, list | tuple):
            if not (name.isdigit() and int(name) < len(node)):
                raise ConfigMistake(
                    f'--cfg-options {key}: {place} has entries 0 to {len(node) - 1}, there is no {name}'
                )
            node = node[int(name)]
        elif not isinstance(node, Mapping | Config):
            short = f'; in a config file: {names[i - 1]}=dict(type={node!r}, {name}=...)'
            raise ConfigMistake(
                f'--cfg-options {key}: {place} is {shortened(node)}, which has no {name}'
                + (short if isinstance(node, str) else '')
            )
        elif name not in node:
            return
        else:
            node = node[name]


def _leaves(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Paths and values of the settings that are read."""
    if isinstance(node, Config | Mapping):
        for key, value in node.items():
            if path or key in FIELDS:
                yield from _leaves(value, f'{path}.{key}' if path else str(key))
    elif isinstance(node, list | tuple) and any(isinstance(v, Mapping) for v in node):
        for i, value in enumerate(node):
            yield from _leaves(value, f'{path}.{i}')
    else:
        yield path, node
