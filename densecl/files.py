"""Files that are either whole or absent, and their checksum."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: Errors of a disk, or a share of it, that is full.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[str]:
    """Yield a temporary name beside ``path``; it takes that name only if the block succeeds.

    What is written is on the disk before it has its name, so that a power cut does not leave an empty file.
    The temporary file is locked: see :func:`remove_leftovers`.

    Raises:
        IsADirectoryError: ``path`` is a folder.
        OSError: the disk is full; it names ``path``, also where a writer of C++ only says that it failed.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f'{path} is a folder; give the name of a file')
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = _locked_beside(path)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        _sync(temporary)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
        with suppress(OSError):  # some file systems sync no folders
            _sync(path.parent)
    except BaseException as error:
        full = _is_full(error, temporary)
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        if full:
            raise OSError(full, os.strerror(full), str(path)) from error
        raise
    finally:
        os.close(handle)


def _is_full(error: BaseException, file: str) -> int:
    """The errno if an error says that ``file`` does not fit on its disk, else 0."""
    if isinstance(error, OSError):
        return error.errno if error.errno in FULL and error.filename in (None, file) else 0
    with suppress(OSError):
        if isinstance(error, Exception) and shutil.disk_usage(os.path.dirname(file)).free < 2**20:
            return errno.ENOSPC
    return 0


def write_text(path: str | Path, text: str, errors: str = 'strict') -> Path:
    """Write UTF-8 by :func:`atomic_write`; returns the path."""
    with atomic_write(path) as temporary:
        Path(temporary).write_text(text, encoding='utf-8', errors=errors)
    return Path(path)


def write_json(path: str | Path, content: Any, indent: int | None = 1) -> Path:
    """Write JSON by :func:`atomic_write`; returns the path."""
    return write_text(path, json.dumps(content, indent=indent) + '\n')


def remove_leftovers(folder: str | Path) -> list[Path]:
    """Remove the temporary files that killed writes left in a folder; those of living writers are locked."""
    removed = []
    for path in (p for p in Path(folder).glob('.*.tmp') if _TEMPORARY.fullmatch(p.name)):
        with suppress(OSError):  # gone meanwhile, locked, or on a disk that knows no locks
            with path.open('r+b') as file:  # NFS locks only what is open for writing
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            removed.append(path)
    return removed


def checkpoints_of(folder: str | Path) -> list[Path]:
    """The checkpoints ``epoch_N.pth`` and ``iter_N.pth`` of a run, newest first.

    The newest is the one that ``last_checkpoint`` names, or one written after it that is further, of which a
    killed run did not come to say so; the others follow by the time of writing. Time and iteration are those
    in the checkpoints: dates of files do not survive every copy.
    """
    folder = Path(folder)
    named = _named(folder)
    found = [path for path in (named.parent if named else folder).glob('*.pth') if _NAME.fullmatch(path.name)]
    made = {path: _made(path) for path in ({named, *found} if named else found)}

    def ahead(path: Path) -> bool:
        (since, iteration, _), (when, other, _) = made[named], made[path]
        return when >= since and other > iteration

    if named is None:
        return sorted(made, key=made.get, reverse=True)
    return sorted(made, key=lambda path: (ahead(path), path == named, made[path]), reverse=True)


_TEMPORARY = re.compile(r'\..+\.[a-z0-9_]{8}\.tmp')
_NAME = re.compile(r'(epoch|iter)_(\d+)\.pth')


def sha256_of(path: str | os.PathLike) -> str:
    """The hexadecimal SHA-256 of a file."""
    total = hashlib.sha256()  # hashlib.file_digest came with Python 3.11
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(2**20), b''):
            total.update(block)
    return total.hexdigest()


def _named(folder: Path) -> Path | None:
    """The checkpoint that ``last_checkpoint`` names, where it is there.

    One in another folder counts only if this folder has none: a copied run goes on with its own.
    """
    file = folder / 'last_checkpoint'
    text = file.read_text(encoding='utf-8', errors='replace').strip('\0 \n') if file.is_file() else ''
    own = any(_NAME.fullmatch(path.name) for path in folder.glob('*.pth'))
    places = (folder / Path(text).name, *(() if own else (Path(text),))) if text else ()
    return next((path for path in places if path.is_file()), None)


def _made(path: Path) -> tuple[str, int, str]:
    """When a checkpoint was written, after how many iterations, and its name.

    Of a damaged one the date of the file and the number in its name are taken.
    """
    from densecl.compat.checkpoint import read_meta  # torch, which most users of this module do not need

    meta = read_meta(path)
    if isinstance(meta.get('time'), str) and isinstance(meta.get('iter'), int):
        return meta['time'], meta['iter'], path.name
    number = _NAME.fullmatch(path.name)
    when = time.strftime('%Y%m%d_%H%M%S', time.localtime(path.stat().st_mtime))  # as mmengine writes it
    return when, int(number[2]) if number else 0, path.name


def _locked_beside(path: Path) -> tuple[int, str]:
    """Handle and name of a new temporary file, which is locked where the disk knows locks."""
    while True:
        handle, temporary = tempfile.mkstemp(prefix=f'.{path.name}.', suffix='.tmp', dir=path.parent)
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:  # nobody took it for a leftover before it was locked
            return handle, temporary
        os.close(handle)


def _sync(path: str | Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
