"""Images listed in a file: a plain list, a table of captions, a COCO json, a VOC split."""

import csv
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from densecl.coco import number_of, objects, rows, text_of
from densecl.inputs import read_json
from densecl.registry import DATASETS

from .base import (
    SENSOR_EXTENSIONS,
    FileSource,
    StringTable,
    check_captions,
    check_files,
    check_folder,
    filled_texts,
    is_image,
    joined,
    one_folder,
    relative_id,
)


def _find(name: str | os.PathLike, root: Path, argument: str) -> Path:
    """Find a file by a path relative to ``root``, or by the path itself."""
    tried = [root / os.path.expanduser(name), Path(os.path.expanduser(name))]
    for path in tried:
        if path.is_file():
            return path
    places = ' nor '.join(dict.fromkeys(map(str, tried)))
    raise FileNotFoundError(f'{argument}: there is no file {places}')


def _split_label(line: str) -> tuple[str, int | None]:
    """``a b.jpg 3`` -> path and label; only an image name followed by a number has a label."""
    path, _, last = line.replace('\t', ' ').rpartition(' ')
    if (last.isdecimal() and len(last) < 19 or last == '-1') and is_image(path.rstrip(), SENSOR_EXTENSIONS):
        return path.rstrip(), int(last)
    return line, None


@DATASETS.register_module()
class ListFile(FileSource):
    """The images that a text file lists, one path per line, in its order.

    A line is a path relative to ``data_root`` (or absolute); it may have spaces. An image name followed by a
    space and a whole number is a path and a label. Either all lines have labels or none; the label -1 means
    that an image's class is not known.

    Args:
        data_root: the folder that the paths are relative to.
        list_file: the list, relative to ``data_root``, or a path.
        check_files: check now that every file exists, and not when it is read.
        outside: paths may lead out of ``data_root`` (``../x.jpg``, absolute paths).
    """

    def __init__(
        self, data_root: str | os.PathLike, list_file: str, check_files: bool = True, outside: bool = False
    ) -> None:
        root = one_folder(data_root, 'ListFile')
        file = _find(list_file, root, 'ListFile: list_file')
        lines = file.read_text(encoding='utf-8', errors='surrogateescape').splitlines()
        entries = [_split_label(line.strip()) for line in lines if line.strip()]
        if not entries:
            raise ValueError(f'ListFile: {file} lists no image')
        labels = [label for _, label in entries if label is not None]
        if max(labels, default=0) >= 2**31:
            raise ValueError(f'ListFile: {file} has the label {max(labels)}; class ids are below 2^31')
        if labels and len(labels) < len(entries):
            odd = next(path for path, label in entries if label is None)
            raise ValueError(
                f'ListFile: {file} gives {len(labels)} of {len(entries)} images a label; '
                f'give all of them one or none. The first without: {odd!r}'
            )
        paths = joined(root, [path for path, _ in entries], f'ListFile: {file}', outside)
        _check(check_files, paths, 'ListFile', file)
        super().__init__(paths, labels or None, [relative_id(path, root) for path in paths])


@DATASETS.register_module()
class Coco(FileSource):
    """The images of a COCO json. The only annotations read are captions. An image's id is its ``file_name``.

    Args:
        data_root: the folder that ``file_name`` is relative to.
        ann_file: the json, relative to ``data_root``, or a path.
        prefix: a folder between ``data_root`` and ``file_name``, e.g. ``train2017``.
        check_files: check now that every file exists, and not when it is read.
        captions: its annotations are captions (``captions_train2017.json``).
        outside: paths may lead out of ``data_root/prefix`` (``../x.jpg``, absolute paths).

    Raises:
        ValueError: the file is no json, lacks a field, or lists one id with two names or one name twice.
    """

    def __init__(
        self,
        data_root: str | os.PathLike,
        ann_file: str,
        prefix: str = '',
        check_files: bool = True,
        captions: bool = False,
        outside: bool = False,
    ) -> None:
        root = one_folder(data_root, 'Coco') / prefix
        file = _find(ann_file, one_folder(data_root, 'Coco'), 'Coco: ann_file')
        content = read_json(file, 'COCO annotations for Coco', nan=True)
        names = _coco_names(content, file)
        self._texts = ImageTexts(_coco_captions(content, file), file) if captions else None
        paths = joined(root, names, f'Coco: {file}', outside)
        _check(check_files, paths, 'Coco', file)
        super().__init__(paths, ids=names)

    def texts(self, index: int) -> list[str]:
        """The captions of an image."""
        return super().texts(index) if self._texts is None else self._texts[index]


class ImageTexts:
    """The captions of N images, any number each, in one byte buffer.

    Args:
        captions: name of an image -> its captions, in the order of the images.
        file: their file, for messages.
    """

    def __init__(self, captions: dict[str, list[str]], file: str | os.PathLike) -> None:
        missing = [name for name, found in captions.items() if not found]
        check_captions(missing, len(captions), file, 'at least one caption an image')
        each = [filled_texts(found, f'{file}: {name}') for name, found in captions.items()]
        self._ends = np.cumsum([len(found) for found in each])
        self._table = StringTable(text for found in each for text in found)

    def __getitem__(self, index: int) -> list[str]:
        start = self._ends[index - 1] if index else 0
        return [self._table[i] for i in range(start, self._ends[index])]


@DATASETS.register_module()
class CaptionTable(FileSource):
    """The images and captions of a CSV file, whose first line names the columns.

    An image may have several rows, one per caption. Images are in the order of their first rows; their ids
    are their paths in the table.

    Args:
        data_root: the folder that the paths are relative to.
        table: the file, relative to ``data_root``, or a path.
        image, caption: names of the columns.
        separator: separator of columns; ``'\\t'`` for a TSV.
        check_files: check now that every image exists, and not when it is read.
        outside: paths may lead out of ``data_root`` (``../x.jpg``, absolute paths).
    """

    def __init__(
        self,
        data_root: str | os.PathLike,
        table: str,
        image: str = 'image',
        caption: str = 'caption',
        separator: str = ',',
        check_files: bool = True,
        outside: bool = False,
    ) -> None:
        root = one_folder(data_root, 'CaptionTable')
        file = _find(table, root, 'CaptionTable: table')
        try:
            captions = _table_captions(file, image, caption, separator)
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f'CaptionTable: {file} must be a table in UTF-8: {error}') from error
        if not captions:
            raise ValueError(f'CaptionTable: {file} lists no image')
        self._texts = ImageTexts(captions, file)
        paths = joined(root, list(captions), f'CaptionTable: {file}', outside)
        _check(check_files, paths, 'CaptionTable', file)
        super().__init__(paths, ids=[relative_id(path, root) for path in paths])

    def texts(self, index: int) -> list[str]:
        """The captions of an image."""
        return self._texts[index]


def _table_captions(file: Path, image: str, caption: str, separator: str) -> dict[str, list[str]]:
    """Path of an image in the table -> captions."""
    captions: dict[str, list[str]] = {}
    with open(file, newline='', encoding='utf-8-sig') as lines:
        rows = csv.DictReader(lines, delimiter=separator)
        missing = {image, caption} - set(rows.fieldnames or ())
        if missing:
            raise ValueError(
                f'CaptionTable: {file} has no column {min(missing)!r}, its first line names '
                f'{rows.fieldnames}; set image, caption or separator'
            )
        for row in rows:
            if None in row:
                raise ValueError(
                    f'{file}: line {rows.line_num} has more columns than the first line; put captions that '
                    f'hold {separator!r} in quotes'
                )
            if not row[image]:
                raise ValueError(f'{file}: line {rows.line_num} has a caption without an image')
            captions.setdefault(row[image], []).append(row[caption] or '')
    return captions


def _coco_names(content: Any, file: Path) -> list[str]:
    """``file_name`` of each image. Ids are optional. An id must have one name; a name may be listed once."""
    names, ids, listed = [], {}, rows(content, 'images', f'Coco: {file}')
    if not listed:
        raise ValueError(f'Coco: "images" of {file} is empty')
    for position, image in enumerate(listed):
        where = f'Coco: {file}, image {position}'
        names.append(text_of(image, 'file_name', where))
        key = number_of(image, 'id', where) if 'id' in image else f'image {position}'
        if (other := ids.setdefault(key, names[-1])) != names[-1]:
            raise ValueError(
                f'{where}: id {key!r} is {names[-1]!r} here, but {other!r} in an entry before it; '
                'each image needs its own'
            )
    if len(set(names)) < len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise ValueError(f'Coco: {file} lists {twice!r} twice; list each image once')
    return names


def _coco_captions(content: Any, file: Path) -> dict[str, list[str]]:
    """File name -> captions."""
    names = {
        number_of(image, 'id', f'Coco: {file}, image {position}'): image['file_name']
        for position, image in enumerate(content['images'])
    }
    captions = {name: [] for name in names.values()}
    for number, annotation in enumerate(
        objects(content.get('annotations', []), 'annotation', f'Coco: {file}')
    ):
        where = f'Coco: {file}, annotation {number}'
        if 'caption' not in annotation:
            raise ValueError(f'{where} has no "caption"; take captions_*.json, or leave out captions=True')
        image = number_of(annotation, 'image_id', where)
        if image not in names:
            raise ValueError(f'{where} is the caption of image {image}, which "images" does not list')
        captions[names[image]].append(annotation['caption'])
    return captions


@DATASETS.register_module()
class VOC(FileSource):
    """The images of a split of PASCAL VOC.

    Args:
        data_root: ``VOCdevkit`` (every ``VOC20xx`` in it that has the split is used), or one ``VOC20xx``.
        split: name of a list in ``ImageSets/<image_set>``, e.g. ``trainval``.
        image_set: ``Main``, ``Segmentation``, ...
        check_files: check now that every file exists, and not when it is read.
    """

    def __init__(
        self,
        data_root: str | os.PathLike,
        split: str = 'trainval',
        image_set: str = 'Main',
        check_files: bool = True,
    ) -> None:
        root = one_folder(data_root, 'VOC')
        years = [root] if (root / 'JPEGImages').is_dir() else sorted(root.glob('VOC[0-9]*'))
        lists = [year / 'ImageSets' / image_set / f'{split}.txt' for year in years]
        lists = [file for file in lists if file.is_file()]
        if not lists:
            raise FileNotFoundError(
                f'VOC: no ImageSets/{image_set}/{split}.txt in {root} nor in a VOC20xx below it'
            )
        paths = []
        for file in lists:
            folder = check_folder(file.parents[2] / 'JPEGImages', 'VOC')
            # The lists of one class have lines such as "000012 -1"; the name is the first word.
            ids = [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
            found = joined(folder, [f'{i}.jpg' for i in ids], f'VOC: {file}')
            _check(check_files, found, 'VOC', file)
            paths += found
        if not paths:
            raise ValueError(f'VOC: {", ".join(map(str, lists))} list no image')
        super().__init__(paths, ids=[relative_id(path, root) for path in paths])


def _check(wanted: bool, paths: list[str], source: str, file: Path) -> None:
    if wanted:
        check_files(paths, source, file)
