"""Mends that let mmengine, mmcv-lite, mmdet and mmseg run on a current torch, from pip alone.

Call `install` before anything of mmcv, mmdet or mmseg is imported::

    from densecl import compat

    compat.install()

``python -m densecl.compat`` prints what is in use.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from .extension import install_extension
from .versions import TESTED, warn_untested

__all__ = ['TESTED', 'install', 'load_checkpoint']


def install() -> str:
    """Put all mends in place. Calling it again changes nothing.

    The mends: a stand-in for ``mmcv._ext`` where no compiled one loads, the classes of
    mmengine's checkpoints made known to ``torch.load``, and ``_base_ = 'package::...'`` in
    configs without ``pkg_resources``. A mend whose package is not installed is left out.

    Returns:
        ``'compiled'``, ``'stand-in'`` or ``'absent'``: where mmcv's operators come from.
    """
    source = install_extension()
    if importlib.util.find_spec('mmengine') is not None:
        from .packages import install_packages

        install_packages()
    from .checkpoint import install_safe_globals

    install_safe_globals()
    warn_untested()
    return source


def load_checkpoint(path: Any, map_location: Any = 'cpu') -> Any:
    """Load a checkpoint safely; see `densecl.compat.checkpoint.load_checkpoint`."""
    from .checkpoint import load_checkpoint as load

    return load(path, map_location)
