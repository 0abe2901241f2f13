"""The base class of all sources of images, and functions that sources share."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

IMAGE_EXTENSIONS = frozenset(
    ('jpg', 'jpeg', 'jpe', 'jfif', 'mpo', 'png', 'bmp', 'dib', 'tif', 'tiff', 'webp', 'gif')
    + ('ppm', 'pgm', 'pbm', 'pnm', 'jp2', 'j2k', 'avif', 'tga')
)
"""Extensions, in lower case and without the dot, of the files that count as images."""

SENSOR_EXTENSIONS = ('npy', 'dcm', 'dicom')
"""Those of files that count as images only where a data set has a decoder for them."""


def is_image(name: str, extensions: Sequence[str] = ()) -> bool:
    """Whether a file name has an image's extension and is not hidden, as ``._x.jpg`` of macOS is."""
    stem, _, extension = name.rpartition('/')[2].rpartition('.')
    known = extension.lower() in IMAGE_EXTENSIONS or extension.lower() in extensions
    return stem[:1] not in ('', '.') and known


class StringTable:
    """A read-only list of strings in one byte buffer.

    To read a Python string writes its reference count. So forked workers would copy a list of a million
    strings page by page. Two numpy arrays stay shared.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        encoded = [os.fsencode(s) for s in strings]
        self.ends = np.cumsum([len(e) for e in encoded], dtype=np.int64)
        self.buffer = np.frombuffer(b''.join(encoded), np.uint8)

    @classmethod
    def from_arrays(cls, buffer: np.ndarray, ends: np.ndarray) -> 'StringTable':
        """Build the table from the bytes of all strings, uint8, and each string's end position, int64."""
        table = cls([])
        table.buffer, table.ends = buffer, ends
        return table

    @classmethod
    def concatenate(cls, tables: list['StringTable']) -> 'StringTable':
        """The strings of several tables in one."""
        before = np.cumsum([0] + [len(t.buffer) for t in tables])
        ends = [t.ends + start for t, start in zip(tables, before, strict=False)]
        return cls.from_arrays(np.concatenate([t.buffer for t in tables]), np.concatenate(ends))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = self.ends[index - 1] if index else 0
        return os.fsdecode(self.buffer[start : self.ends[index]].tobytes())


class Source:
    """N images that can be loaded by position; the base of all sources.

    A new source defines ``__len__``, :meth:`load` and :meth:`image_id`; also :meth:`label` if it has labels.
    It must work after a fork and after pickling into data workers, so it opens files at their first read.

    Attributes:
        shard_starts: (S + 1,) int64, the position of each shard's first image, then N. For sources whose
            neighbouring images are together on disk and are best read in runs; None if any order costs the
            same. :class:`densecl.datasets.PretrainSampler` shuffles accordingly.
        shuffle_window: number of images of consecutive shards that are shuffled together; None: all.
        class_names: names of the labels, or None.
    """

    shard_starts: np.ndarray | None = None
    shuffle_window: int | None = None
    class_names: list[str] | None = None

    def __deepcopy__(self, memo: dict) -> 'Source':
        """Return the source itself: runners copy the config that has it, and it is constant and large."""
        return self

    def __len__(self) -> int:
        raise NotImplementedError

    def load(self, index: int) -> tuple[bytes | str, str]:
        """The encoded image as bytes, or the path of its file; and its name for messages."""
        raise NotImplementedError

    def image_id(self, index: int) -> str:
        """Id of an image, e.g. its key in a proposal store.

        Different images of a source have different ids. An id should stay the same if the data are moved; the
        default, the name from :meth:`load`, does so only for data that are not moved.
        """
        return self.load(index)[1]

    def label(self, index: int) -> int | None:
        """Class id of an image, or None."""
        return None

    def texts(self, index: int) -> list[str]:
        """The captions of an image, at least one, none of them empty.

        Raises:
            ValueError: the source has no captions, or those of this image are empty.
        """
        raise ValueError(
            f'{type(self).__name__} gives no texts here: take captions of Folder, Coco or TarShards, or a '
            'CaptionTable'
        )


class FileSource(Source):
    """Images in separate files.

    Args:
        paths: their paths.
        labels: their class ids, or None.
        ids: their ids, see :meth:`Source.image_id`; by default the paths.
    """

    def __init__(
        self,
        paths: Iterable[str],
        labels: list[int] | None = None,
        ids: Iterable[str] | None = None,
    ) -> None:
        self._paths = StringTable(paths)
        self._ids = self._paths if ids is None else StringTable(ids)
        self._labels = None if labels is None else np.asarray(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, index: int) -> tuple[str, str]:
        """The path of an image's file, also as its name."""
        path = self._paths[index]
        return path, path

    def image_id(self, index: int) -> str:
        """The image's path below ``data_root``, or the id that the source chose."""
        return self._ids[index]

    def label(self, index: int) -> int | None:
        """Class id of an image, or None."""
        return None if self._labels is None else int(self._labels[index])


def filled_lines(data: bytes, place: str) -> list[str]:
    """The lines of a file of captions that are not empty; a ValueError names ``place`` if there are none."""
    try:
        lines = data.decode('utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{place}: captions must be UTF-8: {error}; convert the file') from error
    return filled_texts([line for line in lines if line.strip()], place)


def filled_texts(texts: list[str], place: str) -> list[str]:
    """Texts without white space around them; a ValueError names ``place`` if one is no text or empty."""
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f'{place}: expected a text or a list of texts, got {str(texts)[:60]}; correct it')
    found = [text.strip() for text in texts]
    if not found or not all(found):
        raise ValueError(f'{place}: expected captions, got an empty text; write it or leave the image out')
    return found


def check_captions(missing: list[str], images: int, where: str | os.PathLike, expected: str) -> None:
    """Raise if images of a source have no captions; the message names one of them."""
    if missing:
        raise ValueError(
            f'{where}: {len(missing)} of {images} images have no caption, the first is {missing[0]}; '
            f'expected {expected}: write it or leave the image out'
        )


def as_list(value: str | os.PathLike | list) -> list[str]:
    """One path or a list of them, as a list of strings."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return [os.path.expanduser(os.fspath(v)) for v in values]


def distinct_names(paths: Iterable[str | os.PathLike]) -> list[str]:
    """For each path the smallest number of its last parts that distinguishes it from the others."""
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    others = set(parts)
    deepest = max(map(len, others), default=1)
    for count in range(1, deepest + 1):
        if len({p[-count:] for p in others}) == len(others):
            break
    return ['/'.join(p[-count:]).lstrip('/') for p in parts]


def relative_id(path: str, root: str | os.PathLike) -> str:
    """A path relative to ``root`` with ``/`` between its parts; a path outside ``root`` unchanged."""
    path, root = os.path.normpath(path), os.path.normpath(root)
    inside = root == os.curdir and not os.path.isabs(path) or path.startswith(root + os.sep)
    return (os.path.relpath(path, root) if inside else path).replace(os.sep, '/')


def check_folder(path: str | os.PathLike, source: str) -> Path:
    """``path`` as a Path; raises an error that says what is wrong if it is no folder."""
    (root,) = as_list(path)
    if os.path.isdir(root):
        return Path(root)
    if os.path.exists(root):
        raise NotADirectoryError(f'{source}: data_root must be a folder, got the file {root}')
    raise FileNotFoundError(f'{source}: data_root {root} does not exist (working directory: {os.getcwd()})')


def one_folder(data_root: str | os.PathLike | list, source: str) -> Path:
    """The only folder of ``data_root``."""
    roots = as_list(data_root)
    if len(roots) != 1:
        raise ValueError(f'{source}: data_root must be one folder, got {len(roots)}: {roots}')
    return check_folder(roots[0], source)


def joined(
    root: str | os.PathLike,
    names: Iterable[str],
    listed_in: str | os.PathLike,
    outside: bool | None = None,
) -> list[str]:
    """Paths of files that a list or an annotation file names.

    Only the names are checked. Links on the disk are allowed, as the user made them.

    Args:
        root: the folder that the names are relative to.
        names: the names.
        listed_in: name of the list for errors.
        outside: names may lead out of ``root``. None: they may not, and the caller has no such argument.

    Raises:
        ValueError: a name leads out of ``root`` (``..``, or an absolute path), is empty or has a null byte.
    """
    paths, inside = [os.path.join(root, name) for name in names], os.path.join(os.path.abspath(root), '')
    for name, path in zip(names, paths, strict=True):
        if not name or '\0' in name:
            raise ValueError(f'{listed_in}: {name!r:.80} is no path')
        leads_out = os.path.isabs(name) or '..' in name
        if leads_out and not outside and not os.path.abspath(path).startswith(inside):
            trust = '' if outside is None else '; if you trust it, set outside=True where the list is given'
            raise ValueError(
                f'{listed_in} names {name!r:.200}, which leads out of {root}; write names below that folder'
                f'{trust}'
            )
    return paths


def check_files(paths: list[str], source: str, listed_in: str | os.PathLike) -> None:
    """Raise if listed files do not exist. Each folder is listed once: faster than a test per file."""
    known: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in known:
            known[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in known[folder]:
            missing.append(path)
    if missing:
        raise FileNotFoundError(
            f'{source}: {len(missing)} of the {len(paths)} images in {listed_in} do not exist, '
            f'the first is {missing[0]}; check data_root, or pass check_files=False together with '
            "on_error='skip' to go on without them"
        )
