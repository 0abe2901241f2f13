"""Folders of images: any tree, and the ImageNet layout."""

import itertools
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
    check_captions,
    check_folder,
    distinct_names,
    filled_lines,
    is_image,
    one_folder,
)


def walk(root: Path) -> Iterator[str]:
    """Paths below ``root``, relative to it, without hidden ones; links are followed once.

    A folder that cannot be listed is logged; for ``root`` itself the OSError is raised.
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


def find_images(
    root: Path, source: str, extensions: Sequence[str] = (), captions: str | None = None
) -> list[str]:
    """Images below ``root``, as sorted relative paths; other files are logged by extension.

    With ``captions``, an extension, each image must have a file of this extension beside it, and each such
    file an image.
    """
    images, others, texts = [], Counter(), set()
    for path in walk(root):
        if is_image(path, extensions):
            images.append(path)
        elif captions is not None and path.endswith(f'.{captions}'):
            texts.add(path)
        else:
            others[os.path.splitext(path)[1].lower() or 'no extension'] += 1
    left_out = ', '.join(f'{count} {extension}' for extension, count in others.most_common(5))
    if not images:
        raise FileNotFoundError(
            f'{source}: no image below {root} (other files: {left_out or "none"}); '
            f'looked for {", ".join(f".{name}" for name in sorted(IMAGE_EXTENSIONS.union(extensions)))}'
            + ('' if extensions else f'; with a decoder also {", ".join(f".{e}" for e in SENSOR_EXTENSIONS)}')
        )
    if captions is not None:
        beside = {caption_file(path, captions): path for path in images}
        missing = sorted(path for text, path in beside.items() if text not in texts)
        check_captions(missing, len(images), root, f'photo.{captions} beside photo.jpg')
        alone = sorted(texts - beside.keys())
        if alone:
            raise ValueError(
                f'{root}: {len(alone)} captions have no image, the first is {alone[0]}; add the image or '
                'remove the caption'
            )
    if others:
        print_log(f'{source}: {len(images)} images below {root}; not images: {left_out}', 'current')
    return sorted(images)


def caption_file(path: str, extension: str) -> str:
    """The file of captions beside an image."""
    return f'{os.path.splitext(path)[0]}.{extension}'


@DATASETS.register_module()
class Folder(FileSource):
    """Every image below one or more folders, sorted by path within each.

    An image's id is its path below the folder. With several folders the id starts with the folder's name
    (with more parts of its path if folders have equal names).

    Args:
        data_root: a folder, or a list of folders.
        extensions: extensions of further files that are images, without the dot: those that the data set's
            decoder reads.
        captions: extension of the caption files beside the images, one caption per line: with ``'txt'``,
            ``photo.txt`` beside ``photo.jpg``. None: the images have no captions.
    """

    def __init__(
        self,
        data_root: str | os.PathLike | list,
        extensions: Sequence[str] = (),
        captions: str | None = None,
    ) -> None:
        roots = [check_folder(root, 'Folder') for root in as_list(data_root)]
        real = [root.resolve() for root in roots]
        for i, j in itertools.permutations(range(len(real)), 2):
            if real[i].is_relative_to(real[j]):
                raise ValueError(
                    f'Folder: data_root {roots[i]} lies in {roots[j]}, so that its images would count twice; '
                    'leave one of them out'
                )
        found = [find_images(root, 'Folder', extensions, captions) for root in roots]
        self.captions = captions
        prefixes = [''] if len(roots) == 1 else [f'{name}/' for name in distinct_names(roots)]
        super().__init__(
            (os.path.join(root, p) for root, names in zip(roots, found, strict=True) for p in names),
            ids=(
                prefix + p.replace(os.sep, '/')
                for prefix, names in zip(prefixes, found, strict=True)
                for p in names
            ),
        )

    def texts(self, index: int) -> list[str]:
        """The lines of the file beside an image."""
        if self.captions is None:
            return super().texts(index)
        file = caption_file(self._paths[index], self.captions)
        return filled_lines(Path(file).read_bytes(), file)


@DATASETS.register_module()
class ImageNet(FileSource):
    """One folder per class; labels are the numbers of the sorted class folders.

    Args:
        data_root: the folder with the class folders, e.g. ``imagenet/train``.
        extensions: as for :class:`Folder`.
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
