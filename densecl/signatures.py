"""What classes and functions take: names, required ones, and whether a value is of the written type."""

import ast
import difflib
import inspect
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

from torch import nn

#: What takes no arguments, whatever its signature says.
_ENDS = (object, nn.Module)
#: Packages whose annotations say what is taken; those of others are broken where it works.
_ANNOTATED = ('densecl', 'torch')
_PLAIN = (bool, int, float, str, bytes)


class Accepted(NamedTuple):
    """What can be given by name; ``open`` where any other name may be understood, too."""

    parameters: dict[str, inspect.Parameter]
    hints: dict[str, Any]
    open: bool

    def missing(self, given: Iterable[str]) -> list[str]:
        """Parameters without a default that are not given."""
        empty = inspect.Parameter.empty
        return [name for name, p in self.parameters.items() if p.default is empty and name not in given]


def accepted(target: Callable) -> Accepted:
    """What a class or function takes by name.

    Of a class, ``**kwargs`` that do nothing but reach ``super().__init__`` stand for what the next class
    takes; used otherwise they may be anything.
    """
    try:
        return _accepted(target)
    except (TypeError, ValueError, OSError):  # built into the interpreter, not hashable
        return Accepted({}, {}, True)


@cache
def _accepted(target: Callable) -> Accepted:
    if isinstance(target, partial):
        inner = accepted(target.func)
        there = {n: p for n, p in inner.parameters.items() if n not in target.keywords}
        return inner._replace(parameters=there, open=inner.open or bool(target.args))
    own_init = inspect.isclass(target) and target.__init__ is not object.__init__
    if not own_init:  # a function, or a class that is made by __new__
        signature = inspect.signature(target)
        named = {p.name: p for p in signature.parameters.values() if p.kind not in _VARIABLE}
        return Accepted(named, _hints(target), _keywords(signature) is not None)
    found, hints = {}, {}
    taken: set[str] = set()
    skipped = 1  # self
    for base in target.__mro__:
        if base in _ENDS or '__init__' not in vars(base):
            continue
        init = base.__init__
        signature = inspect.signature(init)
        named = [p for p in signature.parameters.values() if p.kind not in _VARIABLE][skipped:]
        for p in named:
            if p.name not in taken:
                found.setdefault(p.name, p)
        hints = {**_hints(init), **hints}
        keywords = _keywords(signature)
        if keywords is None:
            return Accepted(found, hints, False)
        passed = _passed_on(init, keywords)
        if passed is None:
            return Accepted(found, hints, True)
        skipped, given = 1 + passed[0], passed[1]
        taken |= given
    return Accepted(found, hints, False)


_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _keywords(signature: inspect.Signature) -> str | None:
    kinds = {p.kind: p.name for p in signature.parameters.values()}
    return kinds.get(inspect.Parameter.VAR_KEYWORD)


def _hints(function: Callable) -> dict[str, Any]:
    """Annotations, without those that name what is imported for type checkers alone."""
    function, found = inspect.unwrap(function), {}
    if str(getattr(function, '__module__', '')).partition('.')[0] not in _ANNOTATED:
        return found
    for name, hint in getattr(function, '__annotations__', {}).items():
        try:
            found[name] = eval(hint, function.__globals__) if isinstance(hint, str) else hint
        except Exception:
            continue
    return found


def _passed_on(init: Callable, keywords: str) -> tuple[int, set[str]] | None:
    """How many arguments by position, and which by name, ``super().__init__`` gets beside ``**keywords``.

    None where the keywords are used in another way.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(init))))
    except (OSError, SyntaxError):
        return None
    uses = sum(isinstance(node, ast.Name) and node.id == keywords for node in ast.walk(tree))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_super(node.func)]
    calls = [call for call in calls if any(_starred(k, keywords) for k in call.keywords)]
    if uses != 1 or len(calls) != 1:
        return None
    (call,) = calls
    by_position = sum(not isinstance(argument, ast.Starred) for argument in call.args)
    return by_position, {k.arg for k in call.keywords if k.arg is not None}


def _is_super(node: ast.AST) -> bool:
    """``super().__init__``"""
    named = isinstance(node, ast.Attribute) and node.attr == '__init__' and isinstance(node.value, ast.Call)
    return named and isinstance(node.value.func, ast.Name) and node.value.func.id == 'super'


def _starred(keyword: ast.keyword, name: str) -> bool:
    return keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == name


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of a config can be what an annotation says; True where that cannot be told.

    A list may stand for a tuple, an int for a float, 3.0 for 3, 0 and 1 for a bool. What becomes an object of
    a class, that class checks.
    """
    if hint is Any or hint is inspect.Parameter.empty or isinstance(hint, str | typing.TypeVar):
        return True
    if hint is None or hint is type(None):
        return value is None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, each) for each in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is typing.Annotated:
        return fits(value, arguments[0])
    kind = origin or hint
    if kind is Callable:
        return callable(value) or isinstance(value, dict)
    if not inspect.isclass(kind):
        return True
    if kind in _PLAIN:
        return _fits_plain(value, kind)
    if issubclass(kind, Mapping):
        return isinstance(value, Mapping) and all(fits(v, arguments[-1]) for v in value.values() if arguments)
    if kind is tuple or (issubclass(list, kind) and kind is not object) or kind is list:
        return _fits_several(value, kind, arguments)
    return True  # the class that is made of it says best what it takes


def _fits_plain(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind in (int, float) and isinstance(value, int | float):
        return kind is float or value == value // 1
    return isinstance(value, kind) or (kind is bool and isinstance(value, int) and value in (0, 1))


def _fits_several(value: Any, kind: type, arguments: tuple) -> bool:
    if not isinstance(value, list | tuple | range | set | frozenset):
        return isinstance(value, kind) and not isinstance(value, str | bytes | Mapping)
    if kind is tuple and arguments and Ellipsis not in arguments:
        same = len(value) == len(arguments)
        return same and all(fits(v, a) for v, a in zip(value, arguments, strict=True))
    inner = next((a for a in arguments if a is not Ellipsis), Any)
    return all(fits(v, inner) for v in value)


def described(name: str, taken: Accepted) -> str:
    """``matching (str | dict | Sequence, 'SameRow' if not given)``."""
    parameter = taken.parameters[name]
    empty = inspect.Parameter.empty
    said = [] if parameter.annotation is empty else [type_name(parameter.annotation)]
    said += ['needed' if parameter.default is empty else f'{shortened(parameter.default)} if not given']
    return f'{name} ({", ".join(said)})'


def type_name(annotation: Any) -> str:
    """An annotation as users write it."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    for module in ('collections.abc.', 'typing.', 'pathlib.'):
        text = text.replace(module, '')
    return text


def shortened(value: Any, most: int = 60) -> str:
    """A value's repr, cut where it is long."""
    text = ' '.join(repr(value).split())
    return text if len(text) <= most else f'{text[: most - 3]}...'


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The most similar of some names, None where none is similar; capitals do not count."""
    lower: dict[str, str] = {}
    for each in names:
        lower.setdefault(each.lower(), each)
    found = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=cutoff)
    return lower[found[0]] if found else None


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names with commas, the first of them where they are many."""
    return ', '.join(names[:most]) + (f', ... ({len(names)} in all)' if len(names) > most else '')
