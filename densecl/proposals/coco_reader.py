"""Reading COCO json files of several kinds."""

import logging
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from densecl.coco import box_of, crowd_of, cut, field, number_of, objects, rle_of, rows, size_of, text_of
from densecl.inputs import read_json
from densecl.structures import Proposals


def read_coco(
    files: list[Path],
    images: str | Path | None = None,
    masks: bool = False,
    min_score: float | None = None,
    crowd: bool = False,
) -> Mapping[str, Proposals]:
    """The objects of all images; arguments as :class:`densecl.proposals.CocoBoxes` has them.

    Boxes are cut to their image. Those that then have no area are left out; the log says how many.

    Returns:
        ``file_name`` -> Proposals, for every image that is listed, those without objects included.
    """
    listed, ids = {}, {}
    if images is not None:
        listed |= _new(_images(_load(images), images), listed, ids, images)
    found, empty, total = defaultdict(list), 0, 0
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
        named = f'CocoBoxes: {file}'
        entries = (
            objects(content, 'annotation', named)
            if isinstance(content, list)
            else rows(content, 'annotations', named)
        )
        for position, entry in enumerate(entries):
            where = f'{named}, annotation {position}'
            if crowd_of(entry, where) and not crowd:
                continue
            image = _id(content['image'], where) if single else number_of(entry, 'image_id', where)
            if image not in listed:
                raise ValueError(f'{where} is of image_id {image!r}, which is not listed')
            score = _score(entry, where)
            if min_score is None or score is None or score >= min_score:
                size = listed[image]['height'], listed[image]['width']
                box, total = cut(box_of(entry, where), size), total + 1
                code = rle_of(field(entry, 'segmentation', where), size, where)['counts'] if masks else None
                empty += box is None
                if box is not None:
                    found[image].append((box, score, code))
    if empty:
        what = f'CocoBoxes: {empty} of {total} boxes have no area in their image and are left out'
        print_log(what, 'current', logging.WARNING)
    return {image['file_name']: _proposals(found[key], image) for key, image in listed.items()}


def _load(file: str | Path):
    return read_json(file, 'COCO annotations for CocoBoxes', nan=True)


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


def _images(content, file: str | Path) -> dict:
    """Image id -> file_name, height, width."""
    named = f'CocoBoxes: {file}'
    single = isinstance(content, dict) and 'image' in content
    entries = objects([content['image']], 'image', named) if single else rows(content, 'images', named)
    found = {}
    for position, entry in enumerate(entries):
        where = f'{named}, image {position}'
        height, width = size_of(entry, where)
        image = dict(file_name=text_of(entry, 'file_name', where), height=height, width=width)
        other = found.setdefault(_id(entry, where), image)
        if other != image:
            raise ValueError(
                f'{where}: id {_id(entry, where)!r} is {image["file_name"]!r} here, but '
                f'{other["file_name"]!r} in an entry before it; each image needs its own'
            )
    return found


def _id(image: dict, where: str) -> int | str:
    return number_of(image, 'id' if 'id' in image else 'image_id', where)


def _score(entry: dict, where: str) -> float | None:
    score = entry.get('score', entry.get('predicted_iou'))
    if score is not None and not (isinstance(score, int | float) and math.isfinite(score)):
        raise ValueError(f'{where}: the score must be a number, got {score!r:.60}')
    return score


def _proposals(objects: list[tuple], image: dict) -> Proposals:
    size = image['height'], image['width']
    boxes = np.array([box for box, *_ in objects], np.float64).reshape(-1, 4)
    scores = [score for _, score, _ in objects]
    masks = [dict(size=list(size), counts=mask) for *_, mask in objects if mask is not None]
    return Proposals(
        boxes,
        size,
        scores=np.float32(scores) if objects and None not in scores else None,
        masks=masks if len(masks) == len(objects) and objects else None,
    )
