"""Checks before a run starts, so that it does not fail an hour later."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from densecl.files import checkpoints_of

LEAST_PHOTOS = 8
#: What a run writes before its first checkpoint, besides config, settings and manifest.
MADE = ('start.pth', 'best_dense.pth', 'guard.json')
_ARCHIVES = ('.tar', '.tgz', '.gz', '.bz2', '.xz', '.zst', '.zip', '.7z', '.rar')


def folders_of(photos: str | Path | Sequence[str | Path]) -> list[str]:
    """One or several folders of photos as a list, with ``~`` expanded."""
    from densecl.datasets.sources.base import as_list

    return as_list(photos)


def find_photos(folders: list[str]) -> list[str]:
    """Paths of all photos below some folders.

    Raises:
        FileNotFoundError, NotADirectoryError: no such folder, or no image in it.
        ValueError: too few photos to fill a batch.
    """
    from densecl.datasets import Folder
    from densecl.datasets.sources import SENSOR_EXTENSIONS

    for path in folders:
        if Path(path).is_file():
            packed = '; unpack it first' if Path(path).suffix.lower() in _ARCHIVES else ''
            raise NotADirectoryError(f'{path} is a file; give a folder of photos{packed}')
    try:
        source = Folder(folders)
    except FileNotFoundError:  # perhaps images of other sensors
        source = Folder(folders, SENSOR_EXTENSIONS)
    if len(source) < LEAST_PHOTOS:
        raise ValueError(
            f'{", ".join(folders)}: {len(source)} photos; pretraining needs at least {LEAST_PHOTOS}, '
            'and some hundreds to be of use'
        )
    return [source.load(i)[0] for i in range(len(source))]


def check_folder_of_run(folder: Path, resume: bool) -> None:
    """Check that a run can have this folder, which ``write_run`` makes.

    Raises:
        FileExistsError: it already has a run or files of another one, and ``resume`` is False.
        FileNotFoundError: ``resume`` is True, but there is no run.
        NotADirectoryError, PermissionError: nothing can be written there.
    """
    there = (folder / 'config.py').is_file()
    if there and not resume:
        raise FileExistsError(
            f'{folder} holds a run already: --resume goes on with it; or give another --out'
        )
    if resume and not there:
        raise FileNotFoundError(f'--resume: there is no run in {folder} (no config.py)')
    # A try that was refused has left these two; its files are replaced.
    refused = all((folder / name).is_file() for name in ('manifest.json', 'settings.json'))
    others = [path for path in (folder / name for name in MADE) if path.exists() and not refused]
    if not resume and (others := [*checkpoints_of(folder), *others]):
        raise FileExistsError(
            f'{folder} holds files that are not of a run of densecl pretrain ({others[0].name}) and would be '
            'written over: give another --out'
        )
    found = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    if not found.is_dir():
        raise NotADirectoryError(f'--out {folder}: a file is in the way ({found})')
    if not os.access(found, os.W_OK | os.X_OK):
        raise PermissionError(f'--out {folder}: no permission to write in {found}')


def check_outside(folder: Path, photos: Sequence[str]) -> None:
    """Check that a run does not lie among its photos.

    Raises:
        ValueError: it does.
    """
    for root in photos:
        if Path(root).resolve() in (folder.resolve(), *folder.resolve().parents):
            raise ValueError(
                f'--out {folder} lies in the folder of photos {root}: pictures of the run would be taken for '
                'photos; give an --out outside of it'
            )


def check_disk(folder: Path, needed: int) -> None:
    """Check that ``needed`` bytes can be written below a folder, which may not exist yet.

    Raises:
        OSError: the disk has too little space.
    """
    free = free_bytes(folder)
    if free < needed:
        raise OSError(
            f'{folder}: the run needs {needed / 2**20:,.0f} MB of disk and {free / 2**20:,.0f} MB are free; '
            'make room or give another --out'
        )


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of a folder, which may not exist yet."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
