"""A user's labelled images: their task, place and size."""

import hashlib
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from densecl.datasets.decode import open_header
from densecl.messages import check_choice

TASKS = ('detection', 'instance', 'semantic')
VAL_SHARE = 0.2
_ORIENTATION = 0x0112  # of EXIF


@dataclass(frozen=True)
class Split:
    """Training or validation part.

    Attributes:
        list_file: COCO json; or, for label maps, a text file with one name per line.
        images: folder that the images' names are relative to.
        labels: folder of the label maps, or None.
        sizes: width and height of each image, in pixels.
        sides: square root of the area of each object, in pixels; () for label maps.
    """

    list_file: Path
    images: Path
    labels: Path | None
    sizes: Sequence[tuple[int, int]]
    sides: Sequence[float] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Median width and height."""
        return tuple(round(statistics.median(side)) for side in zip(*self.sizes, strict=True))


@dataclass(frozen=True)
class LabelledData:
    """The result of :func:`read_data`.

    Attributes:
        task: one of ``TASKS``.
        train, val: the two parts.
        classes: names, in the order of the ids.
        palette: RGB of each class.
        suffixes: suffixes of images and label maps; () for COCO.
        notes: sentences for the user about decisions and about data that are left out.
    """

    task: str
    train: Split
    val: Split
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    suffixes: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def size_as_read(path: Path) -> tuple[int, int] | None:
    """Width and height as mmcv reads it, rotated as its EXIF says; None: Pillow does not know the format."""
    try:
        with open_header(path) as image:
            if image.format == 'TIFF':  # newer versions of Pillow turn its size, older do not
                size, orientation = (image.tag_v2[256], image.tag_v2[257]), image.tag_v2.get(_ORIENTATION, 1)
            else:
                exif = Image.Exif()  # image.getexif() also takes XMP, which OpenCV does not read
                exif.load(image.info.get('exif', b''))
                size, orientation = image.size, exif.get(_ORIENTATION, 1)
            return size[::-1] if orientation in (5, 6, 7, 8) else size
    except Exception:  # the decoder may read it, or it says what is wrong
        return None


def read_data(
    data: str | Path,
    out: str | Path,
    val: str | Path | None = None,
    images: str | Path | None = None,
    task: str | None = None,
    share: float = 1.0,
    class_agnostic: bool = False,
) -> LabelledData:
    """Read labelled images: a COCO json, or a folder with ``images/`` and ``labels/`` (PNG of class ids).

    Without ``val``, the file ``*val*`` beside ``*train*`` or the folder ``val`` beside ``train`` is used. If
    there is none, a fifth of the images is held out, chosen by a hash of their names, and lists of both parts
    are written.

    Args:
        data: the json or the folder.
        out: output folder.
        val: json or folder for validation.
        images: folder of the images, if they are not beside the json (both json files) or in ``images/``.
        task: ``detection`` (boxes), ``instance`` (boxes and masks) or ``semantic`` (label maps); by default
            it follows from the labels.
        share: share of the training images to use, see :func:`some_of`.
        class_agnostic: all categories of a COCO json become one, ``object``.

    Raises:
        FileNotFoundError: a file or folder is missing.
        ValueError: ``share`` is not above 0 and at most 1, or the labels cannot be used; the message names
            the file and the field.
    """
    from .coco import read_coco_data
    from .label_maps import read_label_maps

    data = Path(data)
    check_choice('task', task, (None, *TASKS))
    if not 0 < share <= 1:
        raise ValueError(f'share must be above 0 and at most 1, got {share}')
    if not data.exists():
        raise FileNotFoundError(f'{data}: no such file or folder of labelled images')
    if data.is_dir():
        if task in ('detection', 'instance') or class_agnostic:
            asked = 'class_agnostic' if class_agnostic else f'task {task!r}'
            raise ValueError(f'{data} is a folder of label maps; {asked} needs a COCO json')
        return read_label_maps(data, Path(out), val and Path(val), images and Path(images), share)
    if task == 'semantic':
        raise ValueError(f"{data}: task 'semantic' needs a folder with images/ and labels/, got a file")
    files = (data, Path(out), val and Path(val), images and Path(images))
    return read_coco_data(*files, task, share, class_agnostic)


def set_apart(names: Iterable[str]) -> set[str]:
    """The names for validation: a fifth, at least one, the same on every machine."""
    ordered = sorted(names, key=lambda name: hashlib.md5(name.encode()).hexdigest())
    return set(ordered[: max(1, round(VAL_SHARE * len(ordered)))])


def some_of(names: Iterable[str], share: float) -> list[str]:
    """A share of the names, evenly spread over their order: with 0.1 the first and every tenth after it."""
    ordered = sorted(names)
    places = (round(number / share) for number in range(len(ordered)))
    return [ordered[place] for place in places if place < len(ordered)]


def few(items: Sequence) -> str:
    """The first three of many, for a message."""
    text = ', '.join(map(str, items[:3]))
    return text if len(items) <= 3 else f'{text}, ... ({len(items)} in all)'
