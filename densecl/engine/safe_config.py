"""Reads configs from untrusted sources: json and yaml, as data, without importing unknown code.

Config files in Python are programs. mmengine's reader of json and yaml can run Python, too: bases may be
.py files, ``custom_imports`` imports modules, and a ``type`` with dots imports what it names. Some registered
classes read config files as well (teachers of mmdet) and evaluate some of their settings as Python.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml
from mmengine.config import Config
from mmengine.registry import Registry

from densecl.building import ConfigMistake
from densecl.signatures import shortened

#: Packages from whose registries a ``type`` may come.
SCOPES = ('densecl', 'mmengine', 'mmcv', 'mmdet', 'mmseg')
#: Keys that make the reader, or a built object, load Python.
_CODE_KEYS = ('_base_', 'custom_imports', 'trust_remote_code')
#: Settings that mmcv (of ``nms``) and mmdet evaluate as Python.
_EVALUATED = ('type', 'warp_mode')
#: Methods by which mmengine reads config files; ``fromstring`` reads them from checkpoints.
_READERS = ('fromfile', 'fromstring', '_file2dict', '_parse_lazy_import')
_LARGEST = 16 * 2**20


def read_safely(path: str | Path) -> Config:
    """Read a config as data; for the rest of this process no name in a config imports anything.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigMistake: it is no json or yaml, or has a key or a name that would run code.
    """
    path = Path(path)
    if path.suffix not in ('.json', '.yaml', '.yml'):
        raise ConfigMistake(
            f'--safe-config {path}: reads .json, .yaml, .yml; other configs are programs; a dump '
            "is made where the config is trusted: mmengine.Config.fromfile(PATH).dump('config.json')"
        )
    if not path.is_file():
        raise FileNotFoundError(f'--safe-config {path}: no such file')
    if path.stat().st_size > _LARGEST:
        raise ConfigMistake(f'--safe-config {path}: more than {_LARGEST >> 20} MB is no config')
    try:
        text = path.read_text(encoding='utf-8')
        data = json.loads(text) if path.suffix == '.json' else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigMistake(f'--safe-config {path}: cannot be read: {_first(error)}') from error
    if not isinstance(data, dict):
        raise ConfigMistake(f'--safe-config {path}: must be a dict of settings, is a {type(data).__name__}')
    if 'cfg_options' in data:  # names with dots would pass the check of each key
        raise ConfigMistake(
            f'--safe-config {path}: cfg_options is not read here; write each option at its place, as in the '
            'config that the log folder of a run has'
        )
    for place, key, value in _settings(data):
        _check(f'--safe-config {path}: {place}', key, value)
    import_nothing()
    return Config(data, filename=None)


def _settings(node: Any, place: str = '', depth: int = 0) -> Iterator[tuple[str, str, Any]]:
    if depth > 100:
        raise ConfigMistake(f'--safe-config: {place[:60]}... is nested more than 100 deep')
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        inner = f'{place}.{key}' if place else str(key)
        yield inner, str(key), value
        yield from _settings(value, inner, depth + 1)


def _check(place: str, key: str, value: Any) -> None:
    if key in _CODE_KEYS:
        raise ConfigMistake(f'{place}: {key} can run code; leave it out')
    if key in ('default_scope', '_scope_') and value not in (*SCOPES, None):
        raise ConfigMistake(
            f'{place} imports a package: one of {", ".join(SCOPES)} may be named, got {value!r}'
        )
    if isinstance(value, str):
        if key == 'type' and not _known_form(value):
            raise ConfigMistake(f'{place} imports what it names: {value!r}; give a registered name')
        if key in _EVALUATED and not re.fullmatch(r'[\w.]*', value):
            raise ConfigMistake(f'{place} is evaluated as Python: {shortened(value)}; give a name')
        if value.lower().endswith(('.pkl', '.pickle', '.py')):
            kind = 'a file of Python' if value.lower().endswith('.py') else 'a pickle'
            raise ConfigMistake(f'{place}: {kind} can run code: {shortened(value)}')


def _known_form(name: str) -> bool:
    scope, dot, rest = name.partition('.')
    return not dot or (scope in SCOPES and '.' not in rest)


def import_nothing() -> None:
    """From now on registries of this process import nothing for a name, and config files cannot be read."""
    if not hasattr(Registry.get, 'imports'):
        Registry.get = _registered_only(Registry.get)
        for name in _READERS:
            setattr(Config, name, staticmethod(_refused))


def _refused(file: Any, *args, **kwargs) -> NoReturn:
    raise ConfigMistake(f'--safe-config: no other config is read, it could run code: {shortened(file)}')


def _registered_only(get):
    def get_registered(registry: Registry, key: str):
        scope, _, name = key.rpartition('.')
        if scope not in ('', *SCOPES):
            raise ConfigMistake(f'--safe-config: {key!r} imports what it names; give a registered name')
        registry.import_from_location()
        if not any(name in each.module_dict for each in _family(registry)):
            raise KeyError(key)
        return get(registry, key)

    get_registered.imports = False
    return get_registered


def _family(registry: Registry) -> Iterator[Registry]:
    """A registry, its children and its parents."""
    root = registry
    while root.parent is not None:
        root = root.parent
    pending = [root]
    while pending:
        one = pending.pop()
        one.import_from_location()
        yield one
        pending += one.children.values()


def _first(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
