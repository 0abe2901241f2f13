"""A COCO json as label maps: 0 is the background, then the categories in the order of their ids."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from densecl.datasets import decode_image

from .labelled import LabelledPart, Opened
from .segmentation import IGNORED


def open_coco(path: Path, decoder: Callable | None = None) -> Opened:
    """Label maps from masks, from boxes where an object has no mask; small objects lie on top.

    Crowds are ignored (255). ``decoder`` reads the images, None 8-bit RGB.

    Raises:
        FileNotFoundError: the json or its images are not there.
        ValueError: it is no COCO annotation file, or has more categories than a label map can hold.
    """
    if not path.exists():
        raise FileNotFoundError(f'{path} does not exist; give a COCO annotation file')
    try:
        content = json.loads(path.read_bytes())
        images, objects, categories = (content[k] for k in ('images', 'annotations', 'categories'))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path} is no COCO annotation file (images, annotations, categories): {error}'
        ) from error
    categories = sorted(categories, key=lambda c: c['id'])
    if not images or len(categories) >= IGNORED:
        raise ValueError(
            f'{path}: {len(images)} images and {len(categories)} categories; needs 1.. and 1..254'
        )
    ids = {c['id']: i + 1 for i, c in enumerate(categories)}
    of_image = {image['id']: [] for image in images}
    for entry in objects:
        if entry['image_id'] not in of_image or entry['category_id'] not in ids:
            raise ValueError(
                f'{path}: annotation {entry.get("id")} is of an image or category that is not listed'
            )
        of_image[entry['image_id']].append(entry)
    root = image_root(path, images[0]['file_name'])
    part = LabelledPart(
        tuple(root / image['file_name'] for image in images),
        lambda i: label_map(images[i], of_image[images[i]['id']], ids),
        decoder or decode_image,
        lambda i: object_boxes(images[i], of_image[images[i]['id']], ids),
    )
    boxes = sum(not entry.get('segmentation') for entry in objects)
    notes = (f'{boxes} of {len(objects)} objects have no mask: their boxes are filled',) if boxes else ()
    return Opened({'all': part}, ('background', *(c['name'] for c in categories)), notes)


def image_root(path: Path, name: str) -> Path:
    """The folder that ``file_name`` starts from: beside the json, or where COCO has it."""
    stem = path.stem.removeprefix('instances_')
    roots = [path.parent, path.parent / 'images', path.parent / stem]
    roots += [path.parent.parent / sub for sub in ('', 'images', stem)]
    for root in roots:
        if (root / name).is_file():
            return root
    tried = ', '.join(str(r) for r in roots)
    raise FileNotFoundError(f'{path}: image {name} is in none of {tried}; move the json beside its images')


def label_map(image: dict, objects: list[dict], ids: dict[int, int]) -> np.ndarray:
    """(H, W) uint8, from the objects of one image; ``ids`` maps category id to label."""
    label = np.zeros((image['height'], image['width']), np.uint8)
    masks = [(_mask(entry, label.shape), entry) for entry in objects]
    # Crowds first: what is outlined inside them is known.
    for mask, entry in sorted(masks, key=lambda pair: (not pair[1].get('iscrowd'), -pair[0].sum())):
        label[mask] = IGNORED if entry.get('iscrowd') else ids[entry['category_id']]
    return label


def object_boxes(image: dict, objects: list[dict], ids: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) float64, x0 y0 x1 y1 as shares of the image's sides, and their labels (n,) int64.

    Cut off at the image; crowds and what has no area left are not among them.
    """
    kept = [entry for entry in objects if not entry.get('iscrowd') and entry.get('bbox')]
    x, y, width, height = np.array([entry['bbox'] for entry in kept], np.float64).reshape(-1, 4).T
    sides = np.array([image['width'], image['height']] * 2)
    boxes = (np.stack([x, y, x + width, y + height], 1) / sides).clip(0, 1)
    labels = np.array([ids[entry['category_id']] for entry in kept], np.int64)
    some = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return boxes[some], labels[some]


def _mask(entry: dict, size: tuple[int, int]) -> np.ndarray:
    code = entry.get('segmentation')
    if code:
        from pycocotools import mask as coco_mask

        if isinstance(code, list) or isinstance(code['counts'], list):
            code = coco_mask.frPyObjects(code, *size)
        code = coco_mask.merge(code) if isinstance(code, list) else code
        return coco_mask.decode(code).astype(bool)
    filled = np.zeros(size, np.uint8)
    x, y, width, height = entry['bbox']
    corners = np.array([x, y, x + width, y + height]).round().astype(int)
    cv2.rectangle(filled, corners[:2].tolist(), (corners[2:] - 1).tolist(), 1, cv2.FILLED)
    return filled.astype(bool)
