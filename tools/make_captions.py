#!/usr/bin/env python
"""Write a table of captions from what is known of photos: classes of objects, or names of folders.

python tools/make_captions.py data --coco coco/instances.json --folders shop --out data/captions.csv

A photo of a COCO json gets sentences of the classes and numbers of its objects ("a photo of two dogs
and a car"); one in a tree of folders those of the folders that it is in ("a photo of granny smith"). Both are
short of what people write: they name things, and nothing else. Who reads the table is
dict(type='CaptionTable', table='captions.csv').
"""

import argparse
import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from densecl.datasets.captions import spoken
from densecl.datasets.sources.folder import find_images
from densecl.engine.one_line import call
from densecl.files import atomic_write

NUMBERS = ('no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')
PLURALS = {'person': 'people', 'mouse': 'mice', 'knife': 'knives', 'sheep': 'sheep', 'scissors': 'scissors'}


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='the folder that the paths of the table start from')
    parser.add_argument('--coco', nargs='+', default=(), help='json files of objects, below root')
    parser.add_argument('--images', default='', help='below root, the folder that file_name starts from')
    parser.add_argument(
        '--folders', nargs='+', default=(), help='below root, trees of folders named by class'
    )
    parser.add_argument('--out', required=True, help='the CSV file to write')
    args = parser.parse_args()
    if not args.coco and not args.folders:
        parser.error('give --coco or --folders')
    return args


def main() -> None:
    """Write the table, and say how long it is."""
    args = parse_args()
    rows = [row for name in args.coco for row in of_objects(args.root, name, args.images)]
    rows += [row for name in args.folders for row in of_folders(args.root, name)]
    with atomic_write(args.out) as temporary, open(temporary, 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([('image', 'caption'), *rows])
    print(f'{args.out}: {len(rows)} captions of {len({image for image, _ in rows})} photos')


def of_objects(root: Path, name: str, images: str = '') -> Iterator[tuple[str, str]]:
    """(path, caption) of every photo of a COCO json that has objects: all of them, then each class."""
    content = json.loads((root / name).read_bytes())
    classes = {category['id']: category['name'] for category in content['categories']}
    found: dict[int, Counter] = {image['id']: Counter() for image in content['images']}
    for entry in content['annotations']:
        found[entry['image_id']][classes[entry['category_id']]] += 1
    for image in content['images']:
        path = (Path(images) / image['file_name']).as_posix()
        counts = found[image['id']].most_common()
        if counts:
            yield path, f'a photo of {listed([counted(*pair) for pair in counts])}'
        for pair in counts if len(counts) > 1 else ():
            yield path, f'a photo of {counted(*pair)}'


def of_folders(root: Path, name: str) -> Iterator[tuple[str, str]]:
    """(path, caption) of every photo in folders: each folder between it and ``name``, the nearest first."""
    for path in find_images(root / name, 'make_captions'):
        for folder in reversed(Path(path).parts[:-1]):
            yield (Path(name) / path).as_posix(), f'a photo of {spoken(folder)}'


def counted(thing: str, count: int) -> str:
    """``('dog', 2)`` -> two dogs; from eleven on: many dogs."""
    if count == 1:
        return f'{"an" if thing[0] in "aeiou" else "a"} {thing}'
    number = NUMBERS[count] if count < len(NUMBERS) else 'many'
    return f'{number} {plural(thing)}'


def plural(thing: str) -> str:
    """dog -> dogs, bus -> buses, wine glass -> wine glasses, person -> people."""
    if thing in PLURALS:
        return PLURALS[thing]
    return thing + ('es' if thing.endswith(('s', 'ch', 'sh', 'x')) else 's')


def listed(things: list[str]) -> str:
    """a, b and c."""
    return things[0] if len(things) == 1 else f'{", ".join(things[:-1])} and {things[-1]}'


if __name__ == '__main__':
    call(main)
