"""Building from configs, so that a mistake is told with its place in the config.

While an object is built, the configs of what is inside it are built; each of them is found again in the one
around it, which gives its path, ``model.heads.global.objective``. Names are compared with the signature of
what is built, before it is called. Errors that it raises keep their type and get the path as an attribute.
"""

import contextlib
import functools
import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import Registry

from densecl.messages import message_of
from densecl.signatures import Accepted, accepted, described, fits, listed, nearest, shortened, type_name

Path = tuple[str | int, ...]
_T = TypeVar('_T')
#: Keys of a config that those who build read, and not the class.
_READ_BEFORE = {'type', '_scope_', '_delete_'}
#: Registry -> further keys of its configs, which its build function reads.
_OF_REGISTRY = {'parameter scheduler': {'convert_to_iter_based', 'epoch_length'}}
_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")
_MISSING = re.compile(r"missing \d+ required (?:positional|keyword-only) arguments?: '(\w+)'")


class ConfigMistake(ValueError):
    """What somebody wrote into a config cannot be; the message is one line and begins with the place."""


class _Frame:
    """A config that is being built, and where it stands."""

    def __init__(self, path: Path, config: Any) -> None:
        self.path, self.config = path, config


_FRAMES: ContextVar[tuple[_Frame, ...]] = ContextVar('configs that are being built', default=())


def warn(text: str) -> None:
    """Tell what may be meant so, in one line."""
    print_log(text, 'current', logging.WARNING)


def dotted(path: Path) -> str:
    """``model.heads.global``, as ``--cfg-options`` writes it."""
    return '.'.join(map(str, path))


def place_of(error: BaseException) -> str:
    """Where in the config the object stands whose constructor raised this, ``''`` where none did."""
    return getattr(error, 'place', '')


def at_the_place_of(error: Exception, other: _T) -> _T:
    """Another error, with the place of the first."""
    if hasattr(error, 'place'):
        other.place, other.settings = error.place, error.settings
    return other


@contextlib.contextmanager
def building(config: Any, path: Path = ()) -> Iterator[None]:
    """What is built within belongs to this config; errors get its place unless they have one already."""
    config = config._cfg_dict if isinstance(config, Config) else config
    token = _FRAMES.set((*_FRAMES.get(), _Frame(path, config)))
    try:
        yield
    except Exception as error:
        if path and not hasattr(error, 'place') and not isinstance(error, ConfigMistake):
            error.place, error.settings = dotted(path), tuple(config if isinstance(config, Mapping) else ())
        raise
    finally:
        _FRAMES.reset(token)


def construct(target: Callable[..., _T], config: Mapping, name: str = '') -> _T:
    """``target(**config)``, where the config is part of one that is being built, or else is called ``name``.

    Raises:
        ConfigMistake: a key that it does not take, lacks, or that has a value of another type.
    """
    path, around = _locate(config) if _FRAMES.get() or not name else ((name,), config)
    with building(around, path):
        check_arguments(target, config, path)
        return target(**config)


def check_arguments(target: Callable, config: Mapping, path: Path, besides: Mapping | None = None) -> None:
    """Compare a config with what a class or function takes; ``besides``: what else it will be given.

    Where any other name may be understood, what looks like a slip is told as a warning.

    Raises:
        ConfigMistake: a key that it does not take, lacks, or that has a value of another type.
    """
    taken, name = accepted(target), getattr(target, '__name__', type(target).__name__).lstrip('_')
    for key in config:
        if key in _READ_BEFORE:
            continue
        if key in taken.parameters:
            continue
        near = nearest(key, taken.parameters, 0.88 if taken.open else 0.6)
        if not taken.open:
            raise ConfigMistake(f'{dotted((*path, key))}: {_not_taken(name, near, taken)}')
        if near is not None:
            warn(f'{dotted((*path, key))}: {name} does not name this; is {described(near, taken)} meant?')
    for key in taken.missing({*config, *(besides or {})}):
        if not taken.open:
            raise ConfigMistake(f'{dotted((*path, key))} is missing: {name} needs it{_of_type(taken, key)}')
    for key, value in config.items():
        if key in taken.hints and key in taken.parameters and not fits(value, taken.hints[key]):
            wanted = type_name(taken.parameters[key].annotation)
            raise ConfigMistake(
                f'{dotted((*path, key))}: {name} takes {wanted}, got {shortened(value)} '
                f'({type(value).__name__})'
            )


def _of_type(taken: Accepted, key: str) -> str:
    annotation = taken.parameters[key].annotation
    return '' if annotation is inspect.Parameter.empty else f' ({type_name(annotation)})'


def _not_taken(name: str, near: str | None, taken: Accepted) -> str:
    if near is not None:
        return f'{name} does not take this; did you mean {described(near, taken)}?'
    if not taken.parameters:
        return f'{name} takes no arguments'
    return f'{name} does not take this; it takes {listed(list(taken.parameters), 30)}'


def one_line(error: BaseException) -> str:
    """An error as one line that begins with the place in the config, where it has one."""
    place, text = place_of(error), message_of(error)
    named = re.match(r'([\w.]+): ', text)
    if named and place.startswith(named[1]):
        text = text[named.end() :]
    if not place or text.startswith(place):
        return text
    for pattern, what in ((_UNEXPECTED, 'nothing takes this'), (_MISSING, 'is missing')):
        found = pattern.search(text)
        if found:
            return f'{place}.{found[1]}: {what} ({text})'
    first = re.match(r'\w+(?= is | must )', text)  # "momentum is the share ..."
    return f'{place}.{text}' if first and first[0] in error.settings else f'{place}: {text}'


def _locate(config: Any) -> tuple[Path, Any]:
    """The path of a config in the one around it, and in what the configs inside it are to be looked for.

    A config that was put together on the way is not found: it stands for the one around it. What is built
    of another part (a loop builds the loader) is looked for in the whole.
    """
    frames = _FRAMES.get()
    if not frames:
        return (), config
    around = frames[-1]
    if isinstance(config, Mapping):
        for frame in dict.fromkeys((around, frames[0])):
            found, most = None, 0
            for path, node in walk(frame.config, frame.path):
                likeness = _likeness(node, config) if node is not config else float('inf')
                if likeness > most:
                    found, most = path, likeness
            if found is not None and (frame is around or most >= 2 * len(config)):
                return found, config
    return around.path, around.config


def walk(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, value) of everything inside a config, a value before what it holds."""
    inner = ()
    if isinstance(node, Mapping):
        inner = dict.items(node) if isinstance(node, dict) else node.items()
    elif isinstance(node, list | tuple):
        inner = enumerate(node)
    for key, value in inner:
        yield (*path, key), value
        yield from walk(value, (*path, key))


def _likeness(node: Any, config: Mapping) -> float:
    """How many settings of a built config a node of the config around it has, less those that differ."""
    if isinstance(node, str):
        return 0.5 if config.get('type') == node else 0
    if not isinstance(node, Mapping) or node.get('type', config.get('type')) != config.get('type'):
        return 0
    same = sum(_equal(node[key], config[key]) for key in node if key in config)
    return 2 * same - len(node.keys() ^ config.keys())


def _equal(a: Any, b: Any) -> bool:
    try:
        return a is b or bool(a == b)
    except (ValueError, RuntimeError, TypeError):  # arrays
        return False


def _checked_build(plain: Callable) -> Callable:
    @functools.wraps(plain)
    def build(registry: Registry, cfg: Any, *args, **kwargs) -> Any:
        if isinstance(cfg, list):
            return plain(registry, cfg, *args, **kwargs)
        path, around = _locate(cfg)
        with building(around, path):
            if isinstance(cfg, Mapping):
                _check(registry, cfg, (args[0] if args else kwargs.get('default_args')) or {}, path)
            return plain(registry, cfg, *args, **kwargs)

    return build


def _check(registry: Registry, cfg: Mapping, default: Mapping, path: Path) -> None:
    """Check type and keys of a config before it is built."""
    kind = cfg.get('type', default.get('type'))
    if kind is None and registry.name == 'runner':
        return
    if kind is None:
        where = dotted(path) or shortened(dict(cfg))
        raise ConfigMistake(f'{where}.type is missing: it names the {registry.name} to be built')
    with registry.switch_scope_and_registry(cfg.get('_scope_')) as found:
        target = resolve(kind, found, path)
    own = {k: v for k, v in cfg.items() if k not in _OF_REGISTRY.get(registry.name, ())}
    check_arguments(target, own, path, default)


def resolve(kind: Any, registry: Registry, path: Path) -> Callable:
    """What a ``type`` names.

    Raises:
        ConfigMistake: nothing; or a package is missing that the registry's modules need.
    """
    if not isinstance(kind, str):
        if callable(kind):
            return kind
        raise ConfigMistake(f'{dotted((*path, "type"))} must be a name, got {shortened(kind)}')
    try:
        target = registry.get(kind)
    except ImportError as error:  # of a module that the registry imports, to know its names
        where = dotted(path) or 'type'
        raise ConfigMistake(f'{where}: {registry.name} {kind!r} cannot be looked up: {error}') from error
    except (KeyError, RuntimeError):
        target = None
    if callable(target):
        return target
    names = names_of(registry)
    near = nearest(kind.rpartition('.')[2], names)
    own = '' if near else ' (a class of your own needs register_module(), and custom_imports in the config)'
    near = near or (nearest(kind.rpartition('.')[2], names, 0.4) if names else None)
    said = (f'; did you mean {near}?' if near else '') + own
    raise ConfigMistake(f'{dotted(path) or "type"}: there is no {registry.name} {kind!r}{said}')


def names_of(registry: Registry) -> list[str]:
    """All names that a registry knows, with those of the registries above it."""
    names: Sequence[str] = list(registry.module_dict)
    return [*names, *(names_of(registry.parent) if registry.parent is not None else ())]


Registry.build = _checked_build(Registry.build)
