"""Reads a COCO json as label maps: 0 is the background, then the categories in the order of their ids."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from densecl.coco import box_of, crowd_of, cut, number_of, rle_of, rows, size_of, text_of
from densecl.datasets import decode_image
from densecl.datasets.sources.base import joined
from densecl.inputs import read_json

from .labelled import LabelledPart, Opened
from .segmentation import IGNORED


def open_coco(path: Path, decoder: Callable | None = None) -> Opened:
    """Make label maps from masks, or from the box if an object has no mask; small objects are on top.

    Crowds are ignored (255). ``decoder`` reads the images, None 8-bit RGB.

    Raises:
        FileNotFoundError: the json or its images do not exist.
        ValueError: it is no COCO annotation file, or has too many categories for a label map.
    """
    if not path.exists():
        raise FileNotFoundError(f'{path} does not exist; give a COCO annotation file')
    content = read_json(path, 'a COCO annotation file', nan=True)
    images, categories = _images(content, path), _categories(content, path)
    ids = {c['id']: i + 1 for i, c in enumerate(categories)}
    of_image = {image['id']: [] for image in images}
    objects, empty = rows(content, 'annotations', path), 0
    for position, entry in enumerate(objects):
        where = f'{path}, annotation {position}'
        image, category = (number_of(entry, name, where) for name in ('image_id', 'category_id'))
        if image not in of_image or category not in ids:
            raise ValueError(f'{where} is of an image or category that is not listed')
        of_image[image].append(entry)
    if not objects:
        raise ValueError(f'{path}: "annotations" is empty; there is nothing to measure on')
    for image in images:
        size = image['height'], image['width']
        for entry in of_image[image['id']]:
            _check_object(entry, path)
            empty += bool(entry.get('bbox')) and cut(entry['bbox'], size) is None
    root = image_root(path, images[0]['file_name'])
    part = LabelledPart(
        tuple(map(Path, joined(root, [image['file_name'] for image in images], path))),
        lambda i: label_map(images[i], of_image[images[i]['id']], ids, path),
        decoder or decode_image,
        lambda i: object_boxes(images[i], of_image[images[i]['id']], ids),
    )
    boxes = sum(not entry.get('segmentation') for entry in objects)
    notes = (f'{boxes} of {len(objects)} objects have no mask: their boxes are filled',) if boxes else ()
    if empty:
        notes += (f'{empty} of {len(objects)} objects have a box without area in their image',)
    return Opened({'all': part}, ('background', *(c['name'] for c in categories)), notes)


def _images(content: Any, path: Path) -> list[dict]:
    images, ids = rows(content, 'images', path), {}
    for position, image in enumerate(images):
        where = f'{path}, image {position}'
        size_of(image, where)
        name = text_of(image, 'file_name', where)
        if (key := number_of(image, 'id', where)) in ids:
            raise ValueError(
                f'{where}: id {key!r} is {name!r} here, but {ids[key]!r} before; each needs its own'
            )
        ids[key] = name
    if not images:
        raise ValueError(f'{path}: "images" is empty')
    return images


def _categories(content: Any, path: Path) -> list[dict]:
    """The categories, sorted by their ids."""
    found = rows(content, 'categories', path)
    for position, category in enumerate(found):
        text_of(category, 'name', f'{path}, category {position}')
    ids = [number_of(c, 'id', f'{path}, category {i}') for i, c in enumerate(found)]
    if not found or len(found) >= IGNORED or len(set(ids)) < len(ids) or len(set(map(type, ids))) > 1:
        raise ValueError(f'{path}: {len(found)} categories; needs 1 to 254, each with a number of its own')
    return sorted(found, key=lambda c: c['id'])


def _check_object(entry: dict, path: Path) -> None:
    where = f'{path}, annotation of id {entry.get("id")!r:.40}'
    if not entry.get('segmentation') and not entry.get('bbox'):
        raise ValueError(f'{where} has neither a mask nor a box')
    crowd_of(entry, where)
    if entry.get('bbox'):
        box_of(entry, where)


def image_root(path: Path, name: str) -> Path:
    """The folder that ``file_name`` is relative to: the json's own, or the one of COCO's layout."""
    stem = path.stem.removeprefix('instances_')
    roots = [path.parent, path.parent / 'images', path.parent / stem]
    roots += [path.parent.parent / sub for sub in ('', 'images', stem)]
    for root in roots:
        if (root / name).is_file():
            return root
    tried = ', '.join(str(r) for r in roots)
    raise FileNotFoundError(f'{path}: image {name} is in none of {tried}; move the json beside its images')


def label_map(image: dict, objects: list[dict], ids: dict[int, int], path: Path) -> np.ndarray:
    """(H, W) uint8, from the objects of one image; ``ids``: category id -> label; ``path``: for messages."""
    label = np.zeros((image['height'], image['width']), np.uint8)
    where = f'{path}, an annotation of {image["file_name"]}'
    masks = [(_mask(entry, label.shape, where), entry) for entry in objects]
    # Crowds are painted first, so that outlined objects inside them keep their labels.
    for mask, entry in sorted(masks, key=lambda pair: (not pair[1].get('iscrowd'), -pair[0].sum())):
        label[mask] = IGNORED if entry.get('iscrowd') else ids[entry['category_id']]
    return label


def object_boxes(image: dict, objects: list[dict], ids: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) float64, x0 y0 x1 y1 as shares of the image's sides, and their labels (n,) int64.

    Boxes are cut to the image. Crowds and boxes without area are left out.
    """
    kept = [entry for entry in objects if not entry.get('iscrowd') and entry.get('bbox')]
    x, y, width, height = np.array([entry['bbox'] for entry in kept], np.float64).reshape(-1, 4).T
    sides = np.array([image['width'], image['height']] * 2)
    boxes = (np.stack([x, y, x + width, y + height], 1) / sides).clip(0, 1)
    labels = np.array([ids[entry['category_id']] for entry in kept], np.int64)
    some = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return boxes[some], labels[some]


def _mask(entry: dict, size: tuple[int, int], where: str) -> np.ndarray:
    code = entry.get('segmentation')
    if code:
        from pycocotools import mask as coco_mask

        return coco_mask.decode(rle_of(code, size, where)).astype(bool)
    filled = np.zeros(size, np.uint8)
    box = cut(entry['bbox'], size)
    if box is None:
        return filled.astype(bool)
    left, top, right, bottom = np.array(box).round().astype(int)
    filled[top:bottom, left:right] = 1
    return filled.astype(bool)
