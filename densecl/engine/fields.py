"""Which settings of a config anybody reads, and what ``--cfg-options`` may change."""

import inspect
import keyword
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner, set_random_seed
from torch.utils.data import DataLoader

from densecl.building import ConfigMistake, check_arguments, one_line, resolve
from densecl.signatures import listed, nearest, shortened

#: Top-level settings that are read when a run is built; everything else are variables of config files.
FIELDS = {
    *(set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}),
    'allow',
    'custom_imports',
    'default_scope',
    'detect_anomalous_params',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def check_fields(cfg: Config) -> None:
    """Check what is read by name rather than handed to a class: top-level names, loaders, seeds.

    Raises:
        ConfigMistake: nobody reads a key.
    """
    for key, value in cfg.items():
        near = nearest(key, FIELDS - {'tta_pipeline', 'tta_model'}, 0.87)
        if key not in FIELDS and near is not None and isinstance(value, dict | list | tuple):
            raise ConfigMistake(f'{key}: nobody reads this; did you mean {near}?')
    for path in _keywords(cfg._cfg_dict):
        raise ConfigMistake(f'{path}: a name of Python itself, which no config file can hold; choose another')
    for name in _LOADERS:
        if isinstance(cfg.get(name), Mapping):
            _check_loader(cfg[name], name)
    if isinstance(cfg.get('randomness'), Mapping):
        check_arguments(set_random_seed, cfg.randomness, ('randomness',))
    if isinstance(cfg.get('auto_scale_lr'), Mapping):
        check_arguments(_auto_scale_lr, cfg.auto_scale_lr, ('auto_scale_lr',))
    if isinstance(cfg.get('env_cfg'), Mapping):
        check_arguments(_environment, cfg.env_cfg, ('env_cfg',))
    for key, kind in (('custom_hooks', list | tuple), ('default_hooks', Mapping), ('model', Mapping)):
        if cfg.get(key) is not None and not isinstance(cfg[key], kind):
            wanted = 'a list of dicts' if key == 'custom_hooks' else 'a dict'
            raise ConfigMistake(f'{key} must be {wanted}, got {shortened(cfg[key])}')


def _keywords(node: Any, path: str = '') -> Iterator[str]:
    """Paths of keys that cannot be written as ``dict(key=...)``, as mmengine writes configs down."""
    pairs = node.items() if isinstance(node, Mapping) else enumerate(node)
    for key, value in pairs:
        inner = f'{path}.{key}' if path else str(key)
        if keyword.iskeyword(str(key)):
            yield inner
        if isinstance(value, Mapping | list | tuple):
            yield from _keywords(value, inner)


def _check_loader(loader: Mapping, name: str) -> None:
    own = {key: value for key, value in loader.items() if key != 'num_batch_per_epoch'}
    check_arguments(DataLoader, own, (name,))
    for key, given in (('collate_fn', ('data_batch',)), ('worker_init_fn', ('worker_id', 'num_workers'))):
        function = loader.get(key)
        if isinstance(function, Mapping) and isinstance(function.get('type'), str):
            target = resolve(function['type'], FUNCTIONS, (name, key))
            if key == 'collate_fn':
                check_arguments(target, function, (name, key), dict.fromkeys(_first(target) or given))


def _first(target: Any) -> tuple[str, ...]:
    """The name of what a function gets by position."""
    return tuple(inspect.signature(target).parameters)[:1] if callable(target) else ()


def _auto_scale_lr(base_batch_size: int = 0, enable: bool = False, rule: str = 'linear') -> None:
    """What ``auto_scale_lr`` holds."""


def _environment(
    cudnn_benchmark: bool = False,
    mp_cfg: dict | None = None,
    dist_cfg: dict | None = None,
    resource_limit: int | None = None,
) -> None:
    """What ``env_cfg`` holds."""


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Change a config as ``--cfg-options`` says.

    Raises:
        ConfigMistake: an option would change nothing that anybody reads, or does not fit into the config.
    """
    for key, value in options.items():
        _check_option(cfg, key)
        try:
            cfg.merge_from_dict({key: value})
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ConfigMistake(f'--cfg-options {key}: {one_line(error)}') from error


def _check_option(cfg: Config, key: str) -> None:
    names = key.split('.')
    if names[0] not in FIELDS:
        near = nearest(names[0], FIELDS)
        if names[0] in cfg:
            places = [p for p, value in _leaves(cfg) if value == cfg[names[0]] and p != key][:2]
            said = f'; give {" or ".join(places)}' if places else '; give the settings that it went into'
            raise ConfigMistake(
                f'--cfg-options {key}: {names[0]} is a variable of the config file, which nobody reads any '
                f'more once the file was read{said}'
            )
        said = f'; did you mean {near}?' if near else f': {listed(sorted(FIELDS), 40)}'
        raise ConfigMistake(f'--cfg-options {key}: there is no setting {names[0]}{said}')
    node: Any = cfg
    for i, name in enumerate(names):
        place = '.'.join(names[:i])
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
        elif name in node:
            node = node[name]
        else:
            near = nearest(name, [str(k) for k in node], 0.75) if i < len(names) - 1 else None
            if near is not None:
                raise ConfigMistake(
                    f'--cfg-options {key}: there is no {name}; did you mean {".".join([*names[:i], near])}?'
                )
            return


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
