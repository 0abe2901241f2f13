"""Photos as a 12-bit sensor with four bands would have taken them."""

import json
from pathlib import Path

import cv2
import numpy as np
import tifffile

from densecl.sample import sample_root

SCALE = 4095 / 255


def four_bands(path: Path, height: int) -> np.ndarray:
    """uint16 (height, W, 4): red, green and blue as 0..4095, and a near infrared made of them."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    width = round(image.shape[1] * height / image.shape[0])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) * SCALE
    infrared = 1.3 * image[..., 1] - 0.4 * image[..., 2] + 500
    return np.dstack([image, infrared]).round().clip(0, 4095).astype(np.uint16)


def write_folder(root: Path, count: int, height: int = 96) -> Path:
    """``count`` tiffs below ``root``/images and ``root``/boxes.json, a COCO json of their objects."""
    source = sample_root() / 'detection'
    coco = json.loads((source / 'annotations/instances_train.json').read_text())
    (root / 'images').mkdir(parents=True)
    kept, boxes = [], []
    for image in coco['images'][:count]:
        pixels = four_bands(source / 'train' / Path(image['file_name']).name, height)
        scale = height / image['height']
        name = f'{Path(image["file_name"]).stem}.tif'
        planar = len(kept) % 2
        tifffile.imwrite(
            root / 'images' / name,
            np.moveaxis(pixels, 2, 0) if planar else pixels,
            photometric='minisblack',
            planarconfig='separate' if planar else 'contig',
        )
        kept.append(dict(id=image['id'], file_name=name, height=pixels.shape[0], width=pixels.shape[1]))
        for box in coco['annotations']:
            if box['image_id'] == image['id'] and not box['iscrowd']:
                values = [v * scale for v in box['bbox']]
                fields = dict(id=len(boxes) + 1, bbox=values, area=values[2] * values[3], iscrowd=0)
                boxes.append(dict(fields, image_id=image['id'], category_id=box['category_id']))
    content = dict(images=kept, annotations=boxes, categories=coco['categories'])
    (root / 'boxes.json').write_text(json.dumps(content))
    return root


def write_labelled(root: Path, count: int = 20, height: int = 96) -> Path:
    """``write_folder`` with ``root``/labels, PNG maps: 1 in the boxes, 255 in the first row, else 0."""
    write_folder(root, count, height)
    content = json.loads((root / 'boxes.json').read_text())
    (root / 'labels').mkdir()
    for image in content['images']:
        label = np.zeros((image['height'], image['width']), np.uint8)
        for entry in content['annotations']:
            if entry['image_id'] == image['id']:
                x, y, w, h = (round(v) for v in entry['bbox'])
                label[y : y + h, x : x + w] = 1
        label[0] = 255
        cv2.imwrite(str(root / 'labels' / f'{Path(image["file_name"]).stem}.png'), label)
    return root
