"""Images with label maps: a folder of PNG maps, or a COCO json."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from densecl.datasets import decode_image
from densecl.datasets.decode import open_map
from densecl.datasets.sources.base import is_image
from densecl.datasets.sources.folder import walk
from densecl.datasets.subset import evenly

from .segmentation import IGNORED

#: With fewer images than this the figures mean nothing.
FEWEST = 20


@dataclass(frozen=True)
class LabelledPart:
    """Images and functions that read them and their label maps.

    Attributes:
        images: their files.
        read: index -> (H, W) uint8 label map, 255 = ignored.
        decode: path -> (H, W, C): uint8 RGB, or what a decoder of other images gives.
        boxes: index -> (n, 4) float64 boxes of the objects, x0 y0 x1 y1 as shares of the sides, and (n,)
            int64 class ids; None if only label maps are known.
    """

    images: tuple[Path, ...]
    read: Callable[[int], np.ndarray]
    decode: Callable[[Path], np.ndarray] = decode_image
    boxes: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def part(self, rows: Sequence[int]) -> 'LabelledPart':
        """A part with only these images."""
        boxes = self.boxes and (lambda i: self.boxes(rows[i]))
        images = tuple(self.images[i] for i in rows)
        return replace(self, images=images, read=lambda i: self.read(rows[i]), boxes=boxes)

    def batches(self, size: tuple[int, int], batch_size: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, h, w, C), of the type that ``decode`` gives, and labels (B, h, w) uint8, all scaled to
        ``size`` = (h, w).

        Raises:
            UnreadableImageError: the channels or the bit depth of an image differ from the decoder's.
            ValueError: an image and its label map differ in size.
        """
        for start in range(0, len(self), batch_size):
            pairs = [self._pair(i, size) for i in range(start, min(start + batch_size, len(self)))]
            images, labels = (torch.from_numpy(np.stack(each)) for each in zip(*pairs, strict=True))
            yield images, labels

    def _pair(self, index: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        image, label = self.decode(self.images[index]), self.read(index)
        if image.shape[:2] != label.shape:
            raise ValueError(
                f'{self.images[index]} is {image.shape[1]} x {image.shape[0]} pixels, its label map '
                f'{label.shape[1]} x {label.shape[0]}; both need the same size'
            )
        return scaled(image, size), cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


@dataclass(frozen=True)
class Labelled:
    """A labelled set in two parts.

    Attributes:
        train: images for training.
        test: images for scoring.
        classes: names by id; ``'0'``, ``'1'``, ... if the files have no names.
        notes: remarks for readers of the figures, one sentence each.
    """

    train: LabelledPart
    test: LabelledPart
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def use_size(self) -> tuple[int, int]:
        """Height and width to measure at, see :func:`usual_size`."""
        return usual_size([self.test.read(i).shape for i in range(min(len(self.test), 20))])

    def at_most(self, count: int) -> 'Labelled':
        """``count`` images of either part, evenly spread; the whole part if it has fewer."""
        parts = (part.part(evenly(len(part), count)) for part in (self.train, self.test))
        return Labelled(*parts, self.classes, self.notes)


def open_labelled(
    path: str | Path, test: str | Path | None = None, decoder: Callable | None = None
) -> Labelled:
    """Open a labelled set.

    Args:
        path: a folder or a COCO json. A folder has ``images/`` and ``labels/`` with equal file stems; labels
            are PNG maps of class ids (255 = ignored). Both may have ``train/`` and ``test/`` or ``val/``. The
            masks of a COCO json (or its boxes, if it has no masks) become label maps with 0 = background.
        test: another such path that is the whole test part; ``path`` is then the whole training part. By
            default the folder's own parts; if it has none, one half of the images, chosen by a hash of their
            names.
        decoder: decoder of the images, the one of the weights or the run
            (:func:`densecl.transfer.record.build_decoder`); None for 8-bit RGB.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: fewer than 20 images, only one class, or the path has no labelled set.
    """
    if test is not None:
        train, other = _open(Path(path), decoder), _open(Path(test), decoder)
        if train.classes != other.classes and '0' not in (train.classes[0], other.classes[0]):
            raise ValueError(f'{path} and {test} have other classes: {train.classes} and {other.classes}')
        if (_BINARY in train.notes) != (_BINARY in other.notes):
            one, two = (path, test) if _BINARY in train.notes else (test, path)
            raise ValueError(
                f'the label maps of {one} hold 0 and 255 only, which would count as class 1, those of {two} '
                'other values, where 255 is ignored: write class ids'
            )
        classes = max(train.classes, other.classes, key=len)
        notes = tuple(dict.fromkeys(train.notes + other.notes))
        return _checked(Labelled(train.parts['all'], other.parts['all'], classes, notes), path)
    found = _open(Path(path), decoder)
    parts, notes = found.parts, found.notes
    if 'train' in parts and ('test' in parts or 'val' in parts):
        pair = parts['train'], parts.get('test', parts.get('val'))
    else:
        pair = halves(parts['all'])
        notes += ('no parts are given: halves by a hash of the names; frames of one film may be in both',)
    return _checked(Labelled(*pair, found.classes, notes), path)


_BINARY = 'the label maps hold 0 and 255 only: 255 counts as class 1'


@dataclass(frozen=True)
class Opened:
    """The content of a path: ``'all'`` and the parts that it names."""

    parts: dict[str, LabelledPart]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def _open(path: Path, decoder: Callable | None) -> Opened:
    if path.suffix == '.json':
        from .labelled_coco import open_coco

        return open_coco(path, decoder)
    if not path.exists():
        raise FileNotFoundError(
            f'{path} does not exist; give a folder with images/ and labels/, or a COCO json'
        )
    if not (path / 'images').is_dir() or not (path / 'labels').is_dir():
        raise ValueError(
            f'{path} must hold images/ and labels/ (PNG label maps of equal names), or be a COCO json'
        )
    return _open_folder(path, decoder)


def _open_folder(path: Path, decoder: Callable | None) -> Opened:
    more = getattr(decoder, 'extensions', ())
    images: dict[str, Path] = {}
    for name in walk(path / 'images'):
        if not is_image(name, more):
            continue
        if (other := images.setdefault(_stem(name), path / 'images' / name)).name != Path(name).name:
            raise ValueError(
                f'{path}/images: {other.name} and {name} would share one label map: rename one of them'
            )
    labels = {_stem(n): path / 'labels' / n for n in walk(path / 'labels') if n.lower().endswith('.png')}
    keys = sorted(images.keys() & labels.keys())
    if not keys:
        raise ValueError(f'{path}: no image has a label map of its name, labels/<same path>.png')
    missing = len(images) - len(keys)
    notes = (f'{missing} of {len(images)} images have no label map and are left out',) if missing else ()
    whole = LabelledPart(
        tuple(images[k] for k in keys), lambda i: read_map(labels[keys[i]]), decoder or decode_image
    )
    present = sorted(set().union(*(np.unique(whole.read(i)).tolist() for i in range(len(whole)))))
    if present == [0, IGNORED]:
        whole = replace(whole, read=lambda i: (read_map(labels[keys[i]]) == IGNORED).astype(np.uint8))
        notes += (_BINARY,)
        present = [0, 1]
    classes = tuple(str(c) for c in range(max((c for c in present if c != IGNORED), default=0) + 1))
    tops = {
        top: [i for i, k in enumerate(keys) if k.split('/')[0] == top] for top in ('train', 'test', 'val')
    }
    parts = {top: whole.part(rows) for top, rows in tops.items() if rows}
    return Opened({'all': whole, **parts}, classes, notes)


def _stem(name: str) -> str:
    return Path(name).with_suffix('').as_posix()


def read_map(path: Path) -> np.ndarray:
    """Read a PNG of class ids as (H, W) uint8; for palette images, the indices.

    Raises:
        UnreadableImageError: the file is missing, damaged, too large or no image.
        ValueError: it has colours, or ids above 255.
    """
    with open_map(path) as image:
        label = np.asarray(image)
    if label.ndim != 2 or label.max(initial=0) > 255:
        raise ValueError(
            f'{path} must be a one-channel PNG of class ids 0..254 (255 = ignored), got mode {image.mode} '
            f'with values up to {label.max()}; write class ids, not colours'
        )
    return label.astype(np.uint8)


def usual_size(shapes: Sequence[tuple[int, ...]], short: int = 240) -> tuple[int, int]:
    """The median height and width, scaled to a short side of at most ``short``, in multiples of 16."""
    height, width = np.median(np.array([shape[:2] for shape in shapes]), axis=0)
    scale = min(1.0, short / min(height, width))
    return tuple(max(16, 16 * round(side * scale / 16)) for side in (height, width))


def scaled(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H, W, C) to ``size`` = (h, w) without aliasing; C at most 128."""
    smaller = size[0] * size[1] < image.shape[0] * image.shape[1]
    image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return image if image.ndim == 3 else image[:, :, None]  # OpenCV drops the axis of one channel


def halves(part: LabelledPart) -> tuple[LabelledPart, LabelledPart]:
    """Split by a hash of the file names, so the halves do not depend on order or folder."""
    order = sorted(range(len(part)), key=lambda i: (zlib.crc32(part.images[i].name.encode()), i))
    middle = len(order) // 2
    return part.part(sorted(order[:middle])), part.part(sorted(order[middle:]))


def _checked(labelled: Labelled, path: str | Path) -> Labelled:
    count = len(labelled.train) + len(labelled.test)
    if count < FEWEST:
        raise ValueError(
            f'{path}: {count} labelled images; {FEWEST} are needed for a figure that means something'
        )
    if len(labelled.classes) < 2:
        raise ValueError(f'{path}: the label maps hold one class only; two are needed')
    return labelled
