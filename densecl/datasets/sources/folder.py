"""Folders of images: any tree, and the ImageNet layout."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.logging import print_log

from densecl.registry import DATASETS

from .base import (
    IMAGE_EXTENSIONS,
    SENSOR_EXTENSIONS,
    FileSource,
    as_list,
    check_folder,
    distinct_names,
    is_image,
    one_folder,
)


def walk(root: Path) -> Iterator[str]:
    """Paths below ``root``, relative to it, without hidden ones; links are followed once.

    A folder that cannot be listed is named in the log; ``root`` raises its OSError.
    """

    def cannot_list(error: OSError) -> None:
        if os.fspath(error.filename) == os.fspath(root):
            raise error
        print_log(f'left out: {error.filename}: {error.strerror}', 'current', logging.WARNING)

    seen = set()
    for folder, subfolders, names in os.walk(root, onerror=cannot_list, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back into the tree
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(s for s in subfolders if not s.startswith('.'))
        prefix = os.path.relpath(folder, root)
        for name in names:
            if not name.startswith('.'):
                yield name if prefix == '.' else os.path.join(prefix, name)


def find_images(root: Path, source: str, extensions: Sequence[str] = ()) -> list[str]:
    """Images below ``root``, relative to it and sorted; what is left out is logged by extension."""
    images, others = [], Counter()
    for path in walk(root):
        if is_image(path, extensions):
            images.append(path)
        else:
            others[os.path.splitext(path)[1].lower() or 'no extension'] += 1
    left_out = ', '.join(f'{count} {extension}' for extension, count in others.most_common(5))
    if not images:
        raise FileNotFoundError(
            f'{source}: no image below {root} (other files: {left_out or "none"}); '
            f'looked for {", ".join(f".{name}" for name in sorted(IMAGE_EXTENSIONS.union(extensions)))}'
            + ('' if extensions else f'; with a decoder also {", ".join(f".{e}" for e in SENSOR_EXTENSIONS)}')
        )
    if others:
        print_log(f'{source}: {len(images)} images below {root}; not images: {left_out}', 'current')
    return sorted(images)


@DATASETS.register_module()
class Folder(FileSource):
    """Every image below one or more folders, sorted by path within each.

    An image's id is its path below the folder; of several folders, with the folder's name in front (or
    as many of its last parts as tell the folders apart).

    Args:
        data_root: a folder, or a list of folders.
        extensions: of files that are images besides the usual ones, without the dot: what the data set's
            decoder reads.
    """

    def __init__(self, data_root: str | os.PathLike | list, extensions: Sequence[str] = ()) -> None:
        roots = [check_folder(root, 'Folder') for root in as_list(data_root)]
        found = [find_images(root, 'Folder', extensions) for root in roots]
        prefixes = [''] if len(roots) == 1 else [f'{name}/' for name in distinct_names(roots)]
        super().__init__(
            (os.path.join(root, p) for root, names in zip(roots, found, strict=True) for p in names),
            ids=(
                prefix + p.replace(os.sep, '/')
                for prefix, names in zip(prefixes, found, strict=True)
                for p in names
            ),
        )


@DATASETS.register_module()
class ImageNet(FileSource):
    """One folder a class; labels number the sorted class folders.

    Args:
        data_root: the folder that holds the class folders, e.g. ``imagenet/train``.
        extensions: as of :class:`Folder`.
    """

    def __init__(self, data_root: str | os.PathLike, extensions: Sequence[str] = ()) -> None:
        root = one_folder(data_root, 'ImageNet')
        images = [p for p in find_images(root, 'ImageNet', extensions) if os.sep in p]
        classes = sorted({p.split(os.sep, 1)[0] for p in images})
        if not classes:
            raise ValueError(
                f"ImageNet: {root} has no class folders; for unsorted photos use source=dict(type='Folder')"
            )
        if set(classes) <= {'train', 'val', 'test'}:
            splits = [str(root / c) for c in classes]
            raise ValueError(f'ImageNet: set data_root to one of {splits}')
        self.class_names = classes
        numbers = {name: i for i, name in enumerate(classes)}
        labels = [numbers[p.split(os.sep, 1)[0]] for p in images]
        ids = [p.replace(os.sep, '/') for p in images]
        super().__init__((os.path.join(root, p) for p in images), labels, ids)
