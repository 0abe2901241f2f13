"""The module that stands in for ``mmcv._ext`` where no compiled one can be imported."""

import importlib
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable

from densecl.numerics import no_autocast

from .ops import OPERATORS

NAME = 'mmcv._ext'


class StandIn(types.ModuleType):
    """``mmcv._ext`` without compiled code: operators load when they are first asked for."""

    def __init__(self) -> None:
        super().__init__(NAME, 'Stand-in of densecl.compat for the compiled operators of mmcv.')
        # A spec with a loader makes importlib.util.find_spec and mmcv's own check see a module.
        loader = importlib.machinery.BuiltinImporter
        self.__spec__ = importlib.machinery.ModuleSpec(NAME, loader, origin='densecl.compat')
        # Asked for by every log header that lists the environment, so they must not raise.
        self.get_compiler_version = lambda: 'n/a (stand-in of densecl.compat)'
        self.get_compiling_cuda_version = self.get_compiler_version

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(f'module {NAME!r} has no attribute {name!r}')
        function = _load(name) if name in OPERATORS else _missing(name)
        setattr(self, name, function)
        return function


def install_extension() -> str:
    """Put the stand-in in place unless a compiled extension can be imported.

    Returns:
        ``'compiled'``, ``'stand-in'``, or ``'absent'`` where mmcv is not installed.
    """
    present = sys.modules.get(NAME)
    if present is not None:
        return 'stand-in' if isinstance(present, StandIn) else 'compiled'
    mmcv = importlib.util.find_spec('mmcv')
    if mmcv is None:
        return 'absent'
    if _import_compiled(mmcv):
        return 'compiled'
    sys.modules[NAME] = StandIn()
    return 'stand-in'


def _import_compiled(mmcv: importlib.machinery.ModuleSpec) -> bool:
    """Import the compiled extension where a file of it exists; say why where that fails."""
    places = mmcv.submodule_search_locations
    if importlib.machinery.PathFinder.find_spec(NAME, places) is None:
        return False
    try:
        importlib.import_module(NAME)
    except ImportError as error:
        warnings.warn(
            f'{NAME} was compiled for another torch and does not load ({error}); '
            "densecl's stand-in takes its place",
            stacklevel=4,
        )
        return False
    return True


def _load(name: str) -> Callable:
    """Return the stand-in of one operator; autocast does not lower its precision, as in compiled code."""
    module = importlib.import_module(f'{__package__}.ops.{OPERATORS[name].module}')
    return no_autocast(getattr(module, name))


def _missing(name: str) -> Callable:
    """Return a function that says, when called, that this operator has no stand-in."""

    def missing(*args, **kwargs):
        raise NotImplementedError(
            f'mmcv operator {name!r} has no stand-in in densecl.compat; it needs the compiled '
            'mmcv (see docs/support.md for the models that run without it)'
        )

    missing.__name__ = name
    return missing
