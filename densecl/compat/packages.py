"""Config inheritance across packages without ``pkg_resources``.

mmengine 0.10 asks ``pkg_resources`` where a package is installed; setuptools 81 dropped it. The three
functions concerned are replaced by what the standard library knows.
"""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

from .versions import FORKS

PACKAGE_ROOT = Path(__file__).resolve().parents[1]


def install_packages() -> None:
    """Replace mmengine's look-up of installed packages and make ``densecl::`` resolve."""
    import mmengine.config.utils as config_utils
    from mmengine.utils import package_utils

    config_utils.MODULE2PACKAGE.setdefault('densecl', 'densecl')
    for replacement in (is_installed, get_installed_path, package2module):
        _replace(getattr(package_utils, replacement.__name__), replacement)
    for name in ('_get_external_cfg_path', '_get_external_cfg_base_path'):
        original = getattr(config_utils, name)
        if not hasattr(original, 'densecl_original'):
            _replace(original, _with_densecl(original))
    _drop_own_scope()


def is_installed(package: str) -> bool:
    """Return whether ``package`` (distribution or module name) is installed."""
    return _distribution(package) is not None or _find_origin(package) is not None


def get_installed_path(package: str) -> str:
    """Return the folder of a package, by distribution name (``mmsegmentation``) or module name (``mmseg``).

    Raises:
        ModuleNotFoundError: If there is none, or it is a namespace package.
    """
    for module in (package, *_modules_of(package)):
        origin = _find_origin(module)
        if origin is not None:
            return str(Path(origin).parent)
    raise ModuleNotFoundError(
        f'{package} is not installed as a package with an __init__.py: pip install {package}'
    )


def package2module(package: str) -> str:
    """Return the module name of a distribution, e.g. ``mmseg`` of ``mmsegmentation``.

    Raises:
        ValueError: If the distribution does not say.
    """
    modules = _modules_of(package)
    if not modules:
        raise ValueError(f'can not infer the module name of {package}')
    return modules[0]


def config_root() -> Path:
    """Return densecl's folder of configs, in a source checkout or in an installed package.

    Raises:
        FileNotFoundError: If neither is there.
    """
    checkout, installed = PACKAGE_ROOT.parent / 'configs', PACKAGE_ROOT / '.mim' / 'configs'
    # A folder ``configs`` beside an installed package is somebody else's.
    in_checkout = PACKAGE_ROOT.parent.name not in ('site-packages', 'dist-packages')
    for folder in (checkout, installed)[not in_checkout :]:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f'densecl configs are in neither {checkout} nor {installed}')


def _with_densecl(original):
    """Return ``original`` (folder of a package, config name) that knows densecl's configs."""

    def look_up(package_path: str, cfg_name: str) -> str:
        if Path(package_path).resolve() != PACKAGE_ROOT:
            return original(package_path, cfg_name)
        path = config_root() / cfg_name
        if not path.is_file():
            folder = path.parent if path.parent.is_dir() else config_root()
            there = sorted(p.name for p in folder.iterdir() if not p.name.startswith(('.', '__')))
            raise FileNotFoundError(
                f'densecl::{cfg_name} does not exist: no file {path}. '
                f'Configs there: {", ".join(there) or "none"}'
            )
        return str(path)

    look_up.__name__ = original.__name__
    look_up.densecl_original = original
    return look_up


def _drop_own_scope() -> None:
    """Let configs that inherit from ``densecl::`` be as if they stood beside ours.

    mmengine marks dicts of another package's configs with ``_scope_``, and hands the mark to ``collate_fn``
    as an argument. Ours name their scope themselves.
    """
    from mmengine.config import Config

    original = Config._get_cfg_path
    if hasattr(original, 'densecl_original'):
        return

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        path, scope = original(cfg_path, filename)
        return path, None if scope == 'densecl' else scope

    get_cfg_path.densecl_original = original
    Config._get_cfg_path = staticmethod(get_cfg_path)


def _modules_of(package: str) -> list[str]:
    """Return the top-level modules a distribution says it holds."""
    found = _distribution(package)
    return (found and found.read_text('top_level.txt') or '').split()


def _distribution(package: str) -> importlib.metadata.Distribution | None:
    """Return the distribution of this name, or else the fork that stands in for it."""
    for name in (package, *(fork for fork, upstream in FORKS.items() if upstream == package)):
        try:
            return importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _find_origin(module: str) -> str | None:
    """Return the ``__init__.py`` of a top-level module, None if there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return spec.origin if spec is not None else None


def _replace(original, replacement) -> None:
    """Put ``replacement`` wherever mmengine imported ``original`` by name."""
    for name, module in list(sys.modules.items()):
        if name.split('.')[0] == 'mmengine' and module is not None:
            for key, value in list(vars(module).items()):
                if value is original:
                    setattr(module, key, replacement)
