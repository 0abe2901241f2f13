"""Mends that let mmengine, mmcv-lite, mmdet and mmseg run on a current torch, from pip alone.

``import densecl.registry`` calls `install`. Without it, call it before anything of mmcv, mmdet or mmseg is
imported::

    from densecl import compat

    compat.install()

``python -m densecl.compat`` prints what is in use.
"""

from .checkpoint import install_safe_globals, load_checkpoint
from .config_text import install_config_text
from .extension import install_extension
from .packages import install_packages
from .versions import TESTED, warn_untested

__all__ = ['TESTED', 'install', 'load_checkpoint']


def install() -> str:
    """Put all mends in place. Calling it again changes nothing.

    The mends: a stand-in for ``mmcv._ext`` where no compiled one loads, ``_base_ = 'package::...'`` in
    configs without ``pkg_resources``, a config's text formatted once instead of four times a run, and the
    classes of mmengine's checkpoints made known to ``torch.load``.

    Returns:
        ``'compiled'``, ``'stand-in'`` or ``'absent'`` (no mmcv): where mmcv's operators come from.
    """
    source = install_extension()
    install_packages()
    install_config_text()
    install_safe_globals()
    warn_untested()
    return source
