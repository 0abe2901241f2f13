"""The positions of images in a tar: read once from its headers, then kept in a small index file.

The index is written beside the tar; if this is not possible, into ``$DENSECL_CACHE`` (``~/.cache/densecl``).
It is valid as long as the tar has the same size and modification time.
"""

import hashlib
import logging
import os
import stat
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from densecl.files import atomic_write
from densecl.inputs import npy_from_bytes

from .base import StringTable, is_image

VERSION = 2
#: Extensions of members with a caption.
TEXTS = ('txt', 'json')
COMPRESSED = {
    b'\x1f\x8b': 'gzip',
    b'BZh': 'bzip2',
    b'\xfd7zXZ': 'xz',
    b'\x28\xb5\x2f\xfd': 'zstd',
}


@dataclass
class TarIndex:
    """The images of one tar, in its order.

    Attributes:
        offsets: (N,) int64, first byte of each image in the tar.
        sizes: (N,) int64, bytes of each image.
        labels: (N,) int64, class id from the sample's ``.cls`` member, -1 where there is none.
        names: N member names.
        left_out: number of image members left out, as another member of the same key was taken.
        texts: (N, 3) int64, the sample's ``.txt`` member, or else its ``.json`` member: first byte, number of
            bytes, and 0 for ``.txt`` or 1 for ``.json``; -1 if there is none.
        lone_text: the first such member whose key has no image, or ''.
    """

    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    names: StringTable
    left_out: int
    texts: np.ndarray
    lone_text: str


def tar_index(path: str, extension: str | None = None) -> TarIndex:
    """The index of a tar: from the index file if it is valid, otherwise read from the tar and stored.

    Args:
        path: an uncompressed tar.
        extension: extension of the members to take: all after the first dot of the file name (``rgb.png``).
            None: for each key (the name up to that dot), the first member that is an image.

    Raises:
        ValueError: not a regular file, compressed, truncated or damaged.
    """
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):
        raise ValueError(f'TarShards: {path} is not a regular file; pipes cannot be read')
    stamp = f'{VERSION} {info.st_size} {info.st_mtime_ns} {extension}'
    places = _places(path)
    for place in places:
        index = _load(place, stamp)
        if index is not None:
            return index
    index = read_index(path, extension)
    if not any(_save(place, stamp, index) for place in places):
        print_log(f'TarShards: the index of {path} cannot be kept, tried {places}', 'current')
    return index


def read_index(path: str, extension: str | None = None) -> TarIndex:
    """Read a tar's headers and skip its data. Arguments and errors: see :func:`tar_index`."""
    images, labels, texts, left_out, links = {}, {}, {}, 0, 0
    with open(path, 'rb') as file:
        _check_uncompressed(file.read(8), path)
        for member in _members(file, path):
            if not member.isreg() or member.issparse():
                links += not member.isdir() and is_image(member.name)
                continue
            folder, _, base = member.name.rpartition('/')
            stem, _, suffix = base.partition('.')
            key = (folder, stem)
            if suffix == 'cls':
                labels[key] = _read_label(file, member, path)
            elif suffix in TEXTS:
                texts.setdefault(key, {})[suffix] = member
            elif is_image(base) if extension is None else suffix == extension:
                left_out += key in images
                images.setdefault(key, member)
    if links:
        what = f'TarShards: {links} images of {path} are links or other members without data, and left out'
        print_log(what, 'current', logging.WARNING)
    found, alone = list(images.values()), [x for key, x in texts.items() if key not in images]
    return TarIndex(
        offsets=np.array([m.offset_data for m in found], dtype=np.int64),
        sizes=np.array([m.size for m in found], dtype=np.int64),
        labels=np.array([labels.get(key, -1) for key in images], dtype=np.int64),
        names=StringTable(m.name for m in found),
        left_out=left_out,
        texts=np.array([_place_of(texts.get(key, {})) for key in images], dtype=np.int64).reshape(-1, 3),
        lone_text=next(iter(alone[0].values())).name if alone else '',
    )


def _place_of(members: dict[str, tarfile.TarInfo]) -> tuple[int, int, int]:
    """A row of :attr:`TarIndex.texts`."""
    kinds = [(kind, members[name]) for kind, name in enumerate(TEXTS) if name in members]
    return next(((x.offset_data, x.size, kind) for kind, x in kinds), (-1, -1, -1))


def _check_uncompressed(head: bytes, path: str) -> None:
    for magic, name in COMPRESSED.items():
        if head.startswith(magic):
            raise ValueError(
                f'TarShards: {path} is compressed ({name}) and cannot be read in any order; '
                'unpack it to a plain .tar (jpegs do not get smaller by it)'
            )


def _members(file, path: str) -> list[tarfile.TarInfo]:
    """The regular members of an open tar."""
    try:
        file.seek(0)
        with tarfile.open(fileobj=file, mode='r:') as tar:
            members = tar.getmembers()
            # tarfile takes a damaged header as the end of the tar, and does not check what follows.
            file.seek(tar.offset)
            for block in iter(lambda: file.read(2**20), b''):
                if block.strip(b'\0'):
                    raise tarfile.ReadError(
                        f'damaged header at byte {tar.offset}, or data behind the end; of several tars in '
                        'one file only the first could be read'
                    )
    # Headers with wrong numbers or texts raise errors of many types.
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise ValueError(f'TarShards: {path} is truncated, damaged or no tar: {error}') from error
    return members


def _read_label(file, member: tarfile.TarInfo, path: str) -> int:
    text = os.pread(file.fileno(), min(member.size, 64), member.offset_data)
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f'TarShards: {member.name} in {path} must hold a whole number, got {text[:40]!r}'
        ) from None


def _places(path: str) -> list[Path]:
    path = os.path.abspath(path)
    cache = Path(os.environ.get('DENSECL_CACHE') or '~/.cache/densecl').expanduser()
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return [Path(path + '.index.npz'), cache / f'{os.path.basename(path)}.{digest}.index.npz']


def _load(place: Path, stamp: str) -> TarIndex | None:
    try:
        held = _arrays(place)
        if str(held['stamp']) != stamp:
            return None
        names = StringTable.from_arrays(held['name_bytes'], held['name_ends'])
        index = TarIndex(
            *(held[name] for name in ('offsets', 'sizes', 'labels')),
            names,
            int(held['left_out']),
            held['texts'],
            str(held['lone_text']),
        )
        return index if _fits(index, int(stamp.split()[1])) else None
    except Exception:  # no index, or not one of densecl: it is written again
        return None


def _arrays(place: Path) -> dict[str, np.ndarray]:
    """Read what numpy.savez wrote; never takes more memory than the file's own bytes."""
    with zipfile.ZipFile(place) as archive:
        if sum(info.file_size for info in archive.infolist()) > os.path.getsize(place):
            raise ValueError(f'{place} is compressed or damaged')
        return {
            info.filename.removesuffix('.npy'): npy_from_bytes(archive.read(info))
            for info in archive.infolist()
        }


def _fits(index: TarIndex, size: int) -> bool:
    """Whether an index fits a tar of ``size`` bytes; the index file may come from anyone."""
    count, texts = len(index.offsets), index.texts
    places = [(index.offsets, index.sizes), (texts[:, 0], texts[:, 1])]
    ends = index.names.ends
    return (
        index.offsets.dtype
        == index.sizes.dtype
        == index.labels.dtype
        == texts.dtype
        == ends.dtype
        == np.int64
        and index.names.buffer.dtype == np.uint8
        and index.offsets.shape == index.sizes.shape == index.labels.shape == ends.shape == (count,)
        and texts.shape == (count, 3)
        and (np.diff(ends, prepend=0) >= 0).all()
        and (ends[-1] if count else 0) == len(index.names.buffer)
        and all(((a >= -1) & (b >= -1) & (a <= size - b)).all() for a, b in places)
        and np.isin(texts[:, 2], (-1, 0, 1)).all()
    )


def _save(place: Path, stamp: str, index: TarIndex) -> bool:
    """Write to another name and rename, so that no process sees half an index."""
    try:
        with atomic_write(place) as temporary, open(temporary, 'wb') as file:
            np.savez(
                file,
                stamp=np.array(stamp),
                offsets=index.offsets,
                sizes=index.sizes,
                labels=index.labels,
                name_bytes=index.names.buffer,
                name_ends=index.names.ends,
                left_out=np.array(index.left_out),
                texts=index.texts,
                lone_text=np.array(index.lone_text),
            )
        return True
    except OSError:
        return False
