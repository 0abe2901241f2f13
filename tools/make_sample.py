"""Build the bundled sample (densecl/sample) from a larger folder; only what may be redistributed.

    python tools/make_sample.py --source path/to/data [--out densecl/sample]

The source folder holds ``detection/`` (images.tar, instances_{train,val}_super12.json in COCO form
with a ``license`` per image), ``detection_bccd/`` (images.tar, instances_{train,val}.json) and
``pretrain/`` (tar shards and manifest.csv). Running it again gives
the same bytes under the same Pillow version.
"""

import argparse
import csv
import hashlib
import io
import json
import shutil
import tarfile
from collections import Counter, defaultdict
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from sample_attribution import attribution

# COCO licences under which resized copies may be passed on: CC BY, CC BY-SA, no known restrictions,
# US government work.
FREE_LICENSES = (4, 5, 7, 8)
PHOTOS_PER_SOURCE = {'clothing': 250, 'grocery': 250}
PHOTO_SHORT_SIDE, PHOTO_QUALITY = 128, 75
IGNORE = 255
PALETTE = [
    (0, 0, 0), (220, 20, 60), (0, 0, 230), (250, 170, 30), (0, 140, 60), (160, 60, 200),
    (255, 120, 180), (0, 180, 200), (180, 200, 40), (140, 90, 40), (90, 120, 255), (120, 120, 120),
    (255, 220, 120),
]  # fmt: skip
IMAGE_FIELDS = ('id', 'file_name', 'width', 'height', 'license', 'coco_url', 'flickr_url')
OBJECT_FIELDS = ('id', 'image_id', 'category_id', 'bbox', 'area', 'iscrowd', 'segmentation')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--source', type=Path, required=True, help='folder with detection/ and pretrain/')
    default_out = Path(__file__).resolve().parents[1] / 'densecl' / 'sample'
    parser.add_argument('--out', type=Path, default=default_out)
    args = parser.parse_args()
    build(args.source, args.out)
    report(args.out)


def build(source: Path, out: Path):
    """Write everything beside ``out`` first, so that a failure leaves the old sample as it was."""
    new = out.with_name(f'{out.name}.new')
    shutil.rmtree(new, ignore_errors=True)
    splits = {s: make_detection_split(source / 'detection', new, s) for s in ('train', 'val')}
    cells = {s: make_cells_split(source / 'detection_bccd', new / 'bccd', s) for s in ('train', 'val')}
    photos = make_photos(source / 'pretrain', new)
    (new / 'things' / 'classes.txt').write_text('background\nthing\n')
    (new / 'ATTRIBUTION.md').write_text(attribution(splits, cells, photos))
    out.mkdir(parents=True, exist_ok=True)
    for folder in ('photos', 'detection', 'segmentation', 'things', 'bccd'):
        shutil.rmtree(out / folder, ignore_errors=True)
        (new / folder).rename(out / folder)
    (new / 'ATTRIBUTION.md').replace(out / 'ATTRIBUTION.md')
    new.rmdir()


def make_detection_split(source: Path, out: Path, split: str) -> dict:
    """Copy the free images of one split with their boxes and masks, draw maps of classes and things."""
    coco = json.loads((source / f'instances_{split}_super12.json').read_text())
    coco = keep_free(coco, split)
    images, maps, things = (out / part / split for part in ('detection', 'segmentation', 'things/labels'))
    for folder in (images, maps, things, out / 'detection' / 'annotations'):
        folder.mkdir(parents=True, exist_ok=True)
    objects = defaultdict(list)
    for obj in coco['annotations']:
        objects[obj['image_id']].append(obj)
    with tarfile.open(source / 'images.tar') as tar:
        for image in coco['images']:
            data = tar.extractfile(f'{split}/{image["file_name"]}').read()
            (images / image['file_name']).write_bytes(data)
            class_map = draw_class_map(objects[image['id']], image['height'], image['width'])
            name = Path(image['file_name']).with_suffix('.png').name
            save_palette_png(class_map, maps / name)
            thing = np.where(class_map == IGNORE, IGNORE, class_map > 0).astype(np.uint8)
            save_palette_png(thing, things / name)
    write_json(coco, out / 'detection' / 'annotations' / f'instances_{split}.json')
    return coco


def make_cells_split(source: Path, out: Path, split: str) -> dict:
    """Copy the blood cells of one split with their boxes."""
    coco = json.loads((source / f'instances_{split}.json').read_text())
    (out / split).mkdir(parents=True)
    with tarfile.open(source / 'images.tar') as tar:
        for image in coco['images']:
            (out / image['file_name']).write_bytes(tar.extractfile(image['file_name']).read())
    coco['info'] = {
        'description': f'BCCD blood cells, {split}: boxes, at half the original size',
        'license': 'MIT, copyright (c) 2017 shenggan; see ATTRIBUTION.md',
    }
    write_json(coco, out / f'instances_{split}.json')
    return coco


def write_json(content: dict, path: Path):
    path.write_text(json.dumps(content, separators=(',', ':')))


def keep_free(coco: dict, split: str) -> dict:
    """The COCO dictionary reduced to redistributable images and to the fields that are read."""
    free = [i for i in coco['images'] if i['license'] in FREE_LICENSES]
    ids = {i['id'] for i in free}
    images = [{k: i[k] for k in IMAGE_FIELDS} | {'file_name': Path(i['file_name']).name} for i in free]
    objects = [{k: a[k] for k in OBJECT_FIELDS} for a in coco['annotations'] if a['image_id'] in ids]
    for obj in objects:
        if isinstance(obj['segmentation'], list):  # a tenth of a pixel is finer than the annotators' hand
            obj['segmentation'] = [[round(v, 1) for v in polygon] for polygon in obj['segmentation']]
    return {
        'info': {
            'description': f'densecl sample, {split}: COCO photos, short side 256, 12 supercategories',
            'license': 'annotations CC BY 4.0 (COCO Consortium); photos: see ATTRIBUTION.md',
        },
        'licenses': [entry for entry in coco['licenses'] if entry['id'] in FREE_LICENSES],
        'images': sorted(images, key=lambda i: i['id']),
        'annotations': sorted(objects, key=lambda a: a['id']),
        'categories': coco['categories'],
    }


def draw_class_map(objects: list[dict], height: int, width: int) -> np.ndarray:
    """Class map (H, W) uint8: 0 background, category id where an object is, 255 in crowds.

    Crowds are drawn first, then objects from large to small, so that a small object in front of a
    large one stays visible.
    """
    class_map = np.zeros((height, width), np.uint8)
    for obj in sorted(objects, key=lambda a: (not a['iscrowd'], -a['area'], a['id'])):
        class_map[decode_mask(obj, height, width)] = IGNORE if obj['iscrowd'] else obj['category_id']
    return class_map


def decode_mask(obj: dict, height: int, width: int) -> np.ndarray:
    """Boolean mask (H, W) of an annotation whose segmentation is polygons or run lengths."""
    rle = obj['segmentation']
    if isinstance(rle, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(rle, height, width))
    elif isinstance(rle['counts'], list):
        rle = coco_mask.frPyObjects(rle, height, width)
    return coco_mask.decode(rle).astype(bool)


def save_palette_png(class_map: np.ndarray, path: Path):
    """Write a palette PNG: the stored values are the class ids, a viewer shows colours."""
    colours = np.full((256, 3), 255, np.uint8)
    colours[: len(PALETTE)] = PALETTE
    image = Image.fromarray(class_map)
    image.putpalette(colours.tobytes())
    image.save(path, optimize=True)


def make_photos(source: Path, out: Path) -> list[dict]:
    """Shrink a spread selection of the free photos; returns the chosen rows of the manifest."""
    with open(source / 'manifest.csv', newline='') as file:
        rows = [row for row in csv.DictReader(file) if row['source'] in PHOTOS_PER_SOURCE]
    chosen = []
    for name, count in PHOTOS_PER_SOURCE.items():
        chosen += spread([r for r in rows if r['source'] == name], count)
    by_shard = defaultdict(list)
    for row in chosen:
        by_shard[row['shard']].append(row)
    for shard, members in sorted(by_shard.items()):
        with tarfile.open(source / shard) as tar:
            for row in members:
                path = out / 'photos' / row['source'] / row['name']
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(shrink(tar.extractfile(row['name']).read()))
    return sorted(chosen, key=lambda r: (r['source'], r['name']))


def spread(rows: list[dict], count: int) -> list[dict]:
    """Take ``count`` rows in turn from every folder (class) of the source, in hashed order."""
    folders = defaultdict(list)
    for row in sorted(rows, key=lambda r: hashlib.md5(r['source_path'].encode()).hexdigest()):
        # the source's own train/val/test level does not separate classes
        parts = [p for p in Path(row['source_path']).parent.parts if p not in ('train', 'val', 'test')]
        folders['/'.join(parts)].append(row)
    rounds = zip_longest(*(folders[name] for name in sorted(folders)))
    return [row for turn in rounds for row in turn if row is not None][:count]


def shrink(data: bytes) -> bytes:
    """JPEG bytes with the short side at most PHOTO_SHORT_SIDE pixels."""
    image = Image.open(io.BytesIO(data)).convert('RGB')
    scale = min(1.0, PHOTO_SHORT_SIDE / min(image.size))
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=PHOTO_QUALITY, optimize=True)
    return buffer.getvalue()


def report(out: Path):
    """Print how many files and bytes each folder holds."""
    sizes, counts = Counter(), Counter()
    for path in sorted(out.rglob('*')):
        if path.is_file() and '__pycache__' not in path.parts:
            folder = path.relative_to(out).parent.as_posix()
            sizes[folder] += path.stat().st_size
            counts[folder] += 1
    for folder in sizes:
        print(f'{folder:28s} {counts[folder]:5d} files {sizes[folder] / 1e6:7.3f} MB')
    print(f'{"total":28s} {sum(counts.values()):5d} files {sum(sizes.values()) / 1e6:7.3f} MB')


if __name__ == '__main__':
    main()
