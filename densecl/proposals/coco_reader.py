"""Reading COCO json files of several kinds."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from densecl.structures import Proposals


def read_coco(
    files: list[Path],
    images: str | Path | None = None,
    masks: bool = False,
    min_score: float | None = None,
    crowd: bool = False,
) -> Mapping[str, Proposals]:
    """The objects of all images; arguments as :class:`densecl.proposals.CocoBoxes` has them.

    Returns:
        ``file_name`` -> Proposals, for every image that is listed, those without objects included.
    """
    listed, ids = {}, {}
    if images is not None:
        listed |= _new(_images(_load(Path(images)), images), listed, ids, images)
    objects = defaultdict(list)
    for file in files:
        content = _load(file)
        single = isinstance(content, dict) and 'image' in content
        if isinstance(content, dict):
            listed |= _new(_images(content, file), listed, ids, file)
        elif not listed:
            raise ValueError(
                f'CocoBoxes: {file} is a list of results, whose images have no names; '
                'images= must name the annotation file that lists them'
            )
        for position, entry in enumerate(_annotations(content, file)):
            where = f'{file}, annotation {position}'
            if entry.get('iscrowd') and not crowd:
                continue
            image = _sole(content) if single else _get(entry, 'image_id', where)
            if image not in listed:
                raise ValueError(f'CocoBoxes: {where} is of image_id {image!r}, which is not listed')
            score = entry.get('score', entry.get('predicted_iou'))
            if min_score is None or score is None or score >= min_score:
                objects[image].append((_box(entry, where), score, _mask(entry, listed[image], where, masks)))
    return {image['file_name']: _proposals(objects[key], image) for key, image in listed.items()}


def _load(file: Path):
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f'CocoBoxes: {file} is not json: {error}') from error


def _new(images: dict, listed: dict, ids: dict, file: str | Path) -> dict:
    """The images of a file, which must not contradict those listed before; ``ids`` gains their names' ids."""
    for key, image in images.items():
        other = ids.setdefault(image['file_name'], key)
        if other != key:
            raise ValueError(
                f'CocoBoxes: {image["file_name"]!r} has image id {key!r} in {file}, but {other!r} too; '
                'give files that number images alike'
            )
    for key in images.keys() & listed.keys():
        if images[key] != listed[key]:
            raise ValueError(
                f'CocoBoxes: image id {key!r} is {images[key]["file_name"]} in {file}, but '
                f'{listed[key]["file_name"]} in a file before it; give files that number images alike'
            )
    return images


def _images(content: dict, file: str | Path) -> dict:
    """Image id -> file_name, height, width."""
    entries = [content['image']] if 'image' in content else _get(content, 'images', str(file))
    found = {}
    for position, entry in enumerate(entries):
        where = f'{file}, image {position}'
        key = entry['id'] if 'id' in entry else _get(entry, 'image_id', where)
        found[key] = {name: _get(entry, name, where) for name in ('file_name', 'height', 'width')}
    return found


def _sole(content: dict):
    return content['image'].get('id', content['image'].get('image_id'))


def _annotations(content: dict | list, file: Path) -> list[dict]:
    return content if isinstance(content, list) else _get(content, 'annotations', str(file))


def _get(entry: dict, key: str, where: str):
    try:
        return entry[key]
    except (KeyError, TypeError):
        keys = sorted(entry) if isinstance(entry, dict) else type(entry).__name__
        raise ValueError(f'CocoBoxes: {where} has no {key!r}; it has {keys}') from None


def _box(entry: dict, where: str) -> list[float]:
    box = _get(entry, 'bbox', where)
    if not isinstance(box, list) or len(box) != 4 or min(box[2:]) < 0:
        raise ValueError(f'CocoBoxes: {where}: bbox must be [x, y, width, height], got {box}')
    return box


def _mask(entry: dict, image: dict, where: str, wanted: bool) -> bytes | None:
    """Compressed run-length code of a segmentation."""
    if not wanted:
        return None
    code, size = _get(entry, 'segmentation', where), (image['height'], image['width'])
    if not _is_segmentation(code):
        raise ValueError(
            f'CocoBoxes: {where}: segmentation must be polygons of at least 3 points, [[x, y, x, y, x, y]], '
            f'or run lengths, dict(size, counts), got {str(code):.80}; mend it, or take masks=False'
        )
    if isinstance(code, list) or isinstance(code['counts'], list):
        from pycocotools import mask as coco_mask  # polygons and plain run lengths only

        parts = coco_mask.frPyObjects(code, *size)
        code = coco_mask.merge(parts) if isinstance(parts, list) else parts
    if tuple(code['size']) != size:
        raise ValueError(f'CocoBoxes: {where}: mask of {code["size"]}, but the image is {list(size)}')
    counts = code['counts']
    return counts if isinstance(counts, bytes) else counts.encode()


def _is_segmentation(code) -> bool:
    if isinstance(code, dict):
        return isinstance(code.get('counts'), list | str) and 'size' in code
    return isinstance(code, list) and bool(code) and all(isinstance(p, list) and len(p) >= 6 for p in code)


def _proposals(objects: list[tuple], image: dict) -> Proposals:
    size = int(image['height']), int(image['width'])
    boxes = np.array([box for box, *_ in objects], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scores = [score for _, score, _ in objects]
    masks = [dict(size=list(size), counts=mask) for *_, mask in objects if mask is not None]
    return Proposals(
        boxes,
        size,
        scores=np.float32(scores) if objects and None not in scores else None,
        masks=masks if len(masks) == len(objects) and objects else None,
    )
