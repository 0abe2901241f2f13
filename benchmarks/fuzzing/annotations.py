"""What stands beside images: COCO, boxes, lists, captions."""

import json
import os
from pathlib import Path

import numpy as np

from densecl.coco import run_lengths
from densecl.datasets.generated import read_list
from densecl.datasets.sources import Coco, ListFile
from densecl.datasets.sources.lists import CaptionTable
from densecl.evaluation.labelled_coco import open_coco
from densecl.finetune.coco import image_folder
from densecl.finetune.coco import read_coco as read_training_coco
from densecl.proposals import CocoBoxes, SocoJson

from .images import NAMES, SIZE, encoded
from .trial import require


def square() -> bytes:
    """Compressed run lengths of a square."""
    from pycocotools import mask as coco_mask

    mask = np.zeros(SIZE, np.uint8, order='F')
    mask[5:15, 5:20] = 1
    return coco_mask.encode(mask)['counts']


def coco_seed() -> bytes:
    """Images, boxes, masks of every spelling, captions."""
    polygon = [[5, 5, 20, 5, 20, 15, 5, 15]]
    runs = dict(size=list(SIZE), counts=[5 * 30 + 5, *[10, 20] * 14, 10, 20 * 30 + 15])
    text = dict(size=list(SIZE), counts=square().decode())
    images = [dict(id=i + 7, file_name=n, height=SIZE[0], width=SIZE[1]) for i, n in enumerate(NAMES)]
    entries = [
        dict(id=k, image_id=7 + k % 3, category_id=1 + k % 2, bbox=[5, 5, 15, 10.5], segmentation=code,
             score=0.5, caption='a dog', iscrowd=int(k == 4))
        for k, code in enumerate((polygon, runs, text, polygon, runs, polygon))
    ]  # fmt: skip
    categories = [dict(id=1, name='cat'), dict(id=2, name='dog')]
    return json.dumps(dict(images=images, annotations=entries, categories=categories)).encode()


def coco_folder(folder: Path) -> None:
    """The images that the files name."""
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(encoded('JPEG'))


def _check_boxes(boxes: np.ndarray, size: tuple[int, int]) -> None:
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    inside = (x1 >= 0) & (x1 < x2) & (x2 <= size[1]) & (y1 >= 0) & (y1 < y2) & (y2 <= size[0])
    require(bool(inside.all()), f'boxes outside of {size}, or none: {boxes}')


def read_coco_boxes(path: Path) -> object:
    """All boxes and masks."""
    found = CocoBoxes(path, masks=True)
    for name in found:
        proposals = found[name]
        _check_boxes(proposals.boxes, proposals.size)
        for mask in proposals.masks or ():
            require(run_lengths(mask).sum() == np.prod(proposals.size), 'a mask of another size')
    return len(found)


def _check_inside(paths: list, folder: Path) -> None:
    root = os.path.realpath(folder) + os.sep
    require(all(os.path.realpath(p).startswith(root) for p in paths), f'a path leaves {root}: {paths}')


def read_coco_source(path: Path) -> object:
    """Images and captions."""
    source = Coco(path.parent, path.name, captions=True)
    _check_inside([source.load(i)[0] for i in range(len(source))], path.parent)
    ids = [source.image_id(i) for i in range(len(source))]
    require(len(set(ids)) == len(ids), 'two images of one id')
    return [(name, source.texts(i)) for i, name in enumerate(ids)]


def read_coco_labels(path: Path) -> object:
    """Label maps and boxes."""
    part = open_coco(path).parts['all']
    _check_inside(list(part.images), path.parent)
    for i in range(len(part)):
        require(part.read(i).dtype == np.uint8, 'a label map of another type')
        boxes, labels = part.boxes(i)
        require(len(boxes) == len(labels) and bool(((boxes >= 0) & (boxes <= 1)).all()), f'boxes {boxes}')
    return len(part)


def read_coco_training(path: Path) -> object:
    """What fine-tuning trusts."""
    coco, _ = read_training_coco(path)
    folder = image_folder(coco, path, None)
    _check_inside([folder / row['file_name'] for row in coco['images']], folder)
    return len(coco['annotations'])


def soco_seed() -> bytes:
    """Boxes by the image's stem."""
    return json.dumps({'a': [[1, 2, 10, 12], [0, 0, 5, 5]], 'b': [], 'c': [[3, 3, 1, 1]]}).encode()


def read_soco(path: Path) -> object:
    """All boxes."""
    found = SocoJson(path)
    for name in found._table:
        boxes = found(np.zeros((*SIZE, 3), np.uint8), name).boxes
        require(
            bool(np.isfinite(boxes).all()) and bool((boxes[:, 2:] >= boxes[:, :2]).all()), f'boxes {boxes}'
        )
    return len(found)


def read_generated(path: Path) -> object:
    """The files of a list."""
    found = read_list(path)
    _check_inside([each.file for rows in found.values() for each in rows], path.parent)
    return sorted(found)


def read_list_file(path: Path) -> object:
    """Images and labels."""
    source = ListFile(path.parent, path.name)
    _check_inside([source.load(i)[0] for i in range(len(source))], path.parent)
    return [(source.image_id(i), source.label(i)) for i in range(len(source))]


def read_captions(path: Path) -> object:
    """Images and captions."""
    source = CaptionTable(path.parent, path.name)
    _check_inside([source.load(i)[0] for i in range(len(source))], path.parent)
    return [(source.image_id(i), source.texts(i)) for i in range(len(source))]
