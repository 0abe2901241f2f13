"""Images in tar files in the format of webdataset."""

import glob
import json
import os
import re
from collections import OrderedDict
from io import FileIO

import numpy as np
from mmengine.logging import print_log

from densecl.registry import DATASETS

from ..unreadable import UnreadableImageError, reason_of
from .base import Source, StringTable, as_list, check_captions, distinct_names, filled_lines, filled_texts
from .tar_index import TEXTS, tar_index

OPEN_FILES = 32


@DATASETS.register_module()
class TarShards(Source):
    """The images of tar files, read in any order without unpacking or copying.

    The members of a sample have the same key: their name up to the first dot of the file name. The image is
    the key's first image member. Its label is the whole number in the ``.cls`` member, if there is one. The
    first use reads each tar's headers once, see :mod:`densecl.datasets.sources.tar_index`.

    Only the order of samples makes this streaming. The sampler permutes the shards, gives every process a
    part of them, and shuffles within windows, so files are read in long runs. The position within an epoch is
    a number, so a run resumes exactly with any number of workers.

    An image's id is the tar's name (with more parts of its path if tars have equal names), a slash and the
    member's name.

    Args:
        data_root: a folder of tars, a tar, a pattern such as ``shard-{0000..0127}.tar`` or
            ``shard-*.tar``, or a list of these.
        shards: patterns of tars, for folders in ``data_root``.
        extension: extension of the images (all after the first dot), if a key has several (``rgb.png``).
        shuffle_window: number of consecutive images that are shuffled together. A larger number mixes better;
            a smaller one reads in longer runs. None: mix whole shards, for fast local disks.
        captions: every image has captions: the lines of its ``.txt`` member; or the text, or list of texts,
            under this key (``'caption'``) of its ``.json`` member. None: these members are not read.
    """

    def __init__(
        self,
        data_root: str | os.PathLike | list,
        shards: str | list[str] = '*.tar',
        extension: str | None = None,
        shuffle_window: int | None = 8192,
        captions: str | None = None,
    ) -> None:
        if shuffle_window is not None and shuffle_window < 1:
            raise ValueError(f'TarShards: shuffle_window must be positive, got {shuffle_window}')
        self.shards = find_shards(data_root, shards)
        self._shard_names = distinct_names(self.shards)
        indexes = [tar_index(path, extension) for path in self.shards]
        self._offsets = np.concatenate([i.offsets for i in indexes])
        self._sizes = np.concatenate([i.sizes for i in indexes])
        self._labels = np.concatenate([i.labels for i in indexes])
        self._labelled = bool((self._labels >= 0).any())
        self._names = StringTable.concatenate([i.names for i in indexes])
        self._starts = np.cumsum([0] + [len(i.offsets) for i in indexes])
        if not len(self):
            wanted = 'image' if extension is None else f'member ending in .{extension}'
            raise ValueError(f'TarShards: no {wanted} in any of {self.shards}')
        self.captions, self._texts = captions, np.concatenate([i.texts for i in indexes])
        if captions is not None:
            self._check_captions([i.lone_text for i in indexes])
        left_out = sum(i.left_out for i in indexes)
        if left_out:
            print_log(
                f'TarShards: {left_out} images share their key with an earlier one and are left '
                'out; choose between them with extension=',
                'current',
            )
        self.shard_starts = None if shuffle_window is None else self._starts
        self.shuffle_window = shuffle_window
        self._files: OrderedDict[int, FileIO] = OrderedDict()

    def __len__(self) -> int:
        return len(self._offsets)

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_files': OrderedDict()}

    def load(self, index: int) -> tuple[bytes, str]:
        """The image's bytes, and ``tar/member`` as its name."""
        return self._read(index, self._offsets[index], self._sizes[index])

    def _read(self, index: int, offset: int, size: int) -> tuple[bytes, str]:
        """Bytes of the tar of image ``index``, and the image's name."""
        shard = self._shard(index)
        name = f'{self.shards[shard]}/{self._names[index]}'
        try:
            # pread uses no file position, so forked workers may share a file that was opened before.
            data = os.pread(self._open(shard).fileno(), int(size), int(offset))
        except OSError as error:
            raise UnreadableImageError(f'cannot read image {name}: {error}', reason_of(error)) from error
        if len(data) != size:
            raise UnreadableImageError(
                f'cannot read image {name}: the tar became shorter since it was indexed', 'truncated'
            )
        return data, name

    def texts(self, index: int) -> list[str]:
        """The captions of an image."""
        if self.captions is None:
            return super().texts(index)
        offset, size, kind = self._texts[index]
        data, name = self._read(index, offset, size)
        if TEXTS[kind] == 'txt':
            return filled_lines(data, name)
        try:
            found = json.loads(data)[self.captions]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f'{name}: its .json must hold a dict with {self.captions!r}, got {type(error).__name__}: '
                f'{error}; set captions to the key of the text'
            ) from error
        return filled_texts([found] if isinstance(found, str) else found, name)

    def _check_captions(self, alone: list[str]) -> None:
        lone = [f'{shard}/{name}' for shard, name in zip(self.shards, alone, strict=True) if name]
        if lone:
            raise ValueError(
                f'TarShards: {lone[0]} is a caption without an image; remove it, or set extension'
            )
        missing = np.flatnonzero(self._texts[:, 0] < 0)
        names = [f'{self.shards[self._shard(i)]}/{self._names[i]}' for i in missing[:1]]
        check_captions(names * len(missing), len(self), 'TarShards', 'a .txt or .json member of the same key')

    def image_id(self, index: int) -> str:
        """``name of the tar/member``."""
        return f'{self._shard_names[self._shard(index)]}/{self._names[index]}'

    def label(self, index: int) -> int | None:
        """Class id of an image, -1 for an image without one; None if no image has a class."""
        return int(self._labels[index]) if self._labelled else None

    def _shard(self, index: int) -> int:
        return int(np.searchsorted(self._starts, index, side='right')) - 1

    def _open(self, shard: int) -> FileIO:
        if shard not in self._files:
            if len(self._files) >= OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            self._files[shard] = FileIO(self.shards[shard])
        self._files.move_to_end(shard)
        return self._files[shard]


def find_shards(data_root: str | os.PathLike | list, shards: str | list[str]) -> list[str]:
    """The tars that match ``data_root`` and ``shards`` of :class:`TarShards`, each once."""
    found = []
    for root in as_list(data_root):
        if re.match(r'\w+://|pipe:', root):
            raise ValueError(
                f'TarShards: {root} is not a local file; images are read in any order, which needs '
                'files on a (network) disk: copy or mount them'
            )
        patterns = [root]
        if os.path.isdir(root):
            patterns = [os.path.join(root, s) for s in as_list(shards)]
        for pattern in patterns:
            found += _match(pattern)
    return list(dict.fromkeys(found))


def _match(pattern: str) -> list[str]:
    if os.path.exists(pattern):
        return [pattern]
    matches = []
    for name in expand_braces(pattern):
        hits = sorted(glob.glob(name))
        if not hits:
            raise FileNotFoundError(
                f'TarShards: there is no {name} (working directory: {os.getcwd()})'
                + ('' if name == pattern else f', part of {pattern}')
            )
        matches += hits
    return matches


def expand_braces(pattern: str) -> list[str]:
    """``{08..10}.tar`` -> 08.tar, 09.tar, 10.tar; ``{train,val}.tar`` -> train.tar, val.tar."""
    match = re.search(r'\{([^{}]*)\}', pattern)
    if match is None:
        return [pattern]
    numbers = re.fullmatch(r'(\d+)\.\.(\d+)', match[1])
    if numbers:
        first, last = numbers.groups()
        parts = [f'{i:0{len(first)}d}' for i in range(int(first), int(last) + 1)]
    else:
        parts = match[1].split(',')
    if not parts:
        raise ValueError(f'TarShards: {match[0]} in {pattern} counts down; write the smaller first')
    tails = expand_braces(pattern[match.end() :])
    return [pattern[: match.start()] + part + tail for part in parts for tail in tails]
