"""Checkpoints under torch >= 2.6, which unpickles nothing but named, harmless classes.

mmengine's checkpoints hold its running averages (`HistoryBuffer`) and numpy arrays beside the
weights.  Exactly the classes needed for those are allowed; anything else stays refused.
"""

import argparse
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from .plain_arrays import NUMPY


def install_safe_globals() -> None:
    """Allow what mmengine's own checkpoints hold, some of it under older names, and nothing more."""
    from mmengine.logging import HistoryBuffer

    allowed: list = [HistoryBuffer, (_statistic_of, 'builtins.getattr')]
    allowed.append(argparse.Namespace)  # the command line, which DINO, MAE and others save along
    torch.serialization.add_safe_globals(allowed + [(stand_in, name) for name, stand_in in NUMPY.items()])
    _mend_reader_of_fork()


def _mend_reader_of_fork() -> None:
    """onedl-mmengine allows ``getattr``, and loads what was refused again, running its code."""
    from mmengine.runner import checkpoint

    if hasattr(checkpoint, '_safe_torch_load'):
        checkpoint._safe_torch_load = _load_allowed


def _load_allowed(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    return torch.load(file, map_location=map_location, weights_only=True)


def _statistic_of(owner: Any, name: str) -> Any:
    """Stand in for ``getattr`` in checkpoints, where only this one use of it is harmless.

    Pickle writes a HistoryBuffer's statistics as ``getattr(HistoryBuffer, 'mean')``. The real
    ``getattr`` would let a file reach any object of the interpreter.
    """
    from mmengine.logging import HistoryBuffer

    HistoryBuffer()  # the first one fills the table of statistics
    if owner is HistoryBuffer and name in HistoryBuffer._statistics_methods:
        return HistoryBuffer._statistics_methods[name]
    raise pickle.UnpicklingError(f'Unsupported global: GLOBAL builtins.getattr({owner}, {name!r})')


def load_checkpoint(path: str | Path, map_location: Any = 'cpu', mmap: bool = False) -> Any:
    """Return what a file holds that ``torch.save`` wrote, without running code that it may hold.

    ``torch.save`` writes a zip with a checksum (CRC-32) of each tensor and of the rest, which ``torch.load``
    does not look at: it loads most files of which a bit was changed. Here they are compared first.

    Args:
        path: The file.
        map_location: Where its tensors go, as in ``torch.load``.
        mmap: Read tensors when they are used first, as in ``torch.load``.

    Raises:
        FileNotFoundError: If ``path`` is no file.
        ValueError: If the file is cut off, altered, or no checkpoint.
        pickle.UnpicklingError: If it needs classes that are not allowed.
    """
    path = Path(path)
    if not path.is_file():
        what = 'is a folder' if path.is_dir() else 'does not exist'
        raise FileNotFoundError(f'checkpoint {path} {what}: give the path of a .pth file')
    install_safe_globals()
    try:
        zipped = zipfile.is_zipfile(path)  # not so before torch 1.6: no checksums
    except zipfile.BadZipFile as error:
        raise _unreadable(path) from error
    if zipped:
        _compare_checksums(path)
    try:
        return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap and zipped)
    except pickle.UnpicklingError as error:
        raise _explain(path, error) from error
    except RuntimeError as error:
        if re.search(r'CUDA|device', str(error)):  # map_location asks for what is not there
            raise
        raise _unreadable(path) from error
    except Exception as error:  # a damaged pickle runs into whatever comes first
        raise _unreadable(path) from error


def read_meta(path: str | Path) -> dict:
    """Return what a checkpoint says of itself (``meta``), empty if that cannot be read.

    No tensor is read and no checksum compared.
    """
    install_safe_globals()
    try:
        meta = torch.load(path, map_location='cpu', weights_only=True, mmap=True)['meta']
    except Exception:  # a damaged file runs into whatever comes first
        return {}
    return meta if isinstance(meta, dict) else {}


def _compare_checksums(path: Path) -> None:
    """Read a zip through.

    Raises:
        ValueError: If a part is not what was written, or the zip is damaged.
    """
    try:
        with zipfile.ZipFile(path) as file:
            parts, size = file.infolist(), path.stat().st_size
            compressed = sum(part.file_size for part in parts) > size  # torch.save compresses nothing
            known = any(part.CRC for part in parts) and not compressed  # torch can be told to write zeros
            altered = file.testzip() if known else None
    except Exception as error:  # zipfile raises eight kinds for a damaged directory
        raise _unreadable(path) from error
    if compressed:
        raise ValueError(
            f'checkpoint {path} says that it holds more than its {size:,} bytes: compressed or damaged. '
            'Save it anew with torch.save.'
        )
    if altered is not None:
        raise ValueError(
            f'checkpoint {path} was altered since it was written: the checksum of its part {altered} does '
            'not fit. Copy or download it again.'
        )


def _explain(path: Path, error: pickle.UnpicklingError) -> Exception:
    """Turn torch's refusal into one that names the file, the class and the way out."""
    refused = re.search(r'GLOBAL ([\w.]+)|(?:reduce for unrecognized function|but got) (.+)', str(error))
    if refused is None:
        return _unreadable(path)
    return pickle.UnpicklingError(
        f'checkpoint {path} holds {refused[1] or refused[2]}, which could run code while loading and is '
        'therefore refused. If you trust the file, load it once with torch.load(..., '
        "weights_only=False) and save {'state_dict': ...} alone to a new file."
    )


def _unreadable(path: Path) -> ValueError:
    """Return the error for a file that is not a whole checkpoint."""
    return ValueError(
        f'checkpoint {path} ({path.stat().st_size} bytes) is cut off or was not written by '
        'torch.save. Copy or download it again.'
    )
