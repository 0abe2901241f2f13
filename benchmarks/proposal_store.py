"""Bytes an image and random reads a second of a proposal store, beside other ways to keep boxes.

    python benchmarks/proposal_store.py --images 20000 --boxes 50
    python benchmarks/proposal_store.py --store data/proposals

Without ``--store`` the boxes are made up: whole pixels in photos of 375 x 500, names as ImageNet has them.
Every read is of another image at random; memory is what one process
holds of its own after the reads (private pages), the shared file not counted.
"""

import argparse
import json
import os
import pickle
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from densecl.proposals import CocoBoxes, ProposalStore, write_coco
from densecl.structures import Proposals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--images', type=int, default=20_000)
    parser.add_argument('--boxes', type=int, default=50, help='mean boxes an image')
    parser.add_argument('--reads', type=int, default=20_000)
    parser.add_argument('--store', help='an existing store instead')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(args.store or make(Path(folder) / 'a.arrow', args.images, args.boxes))
        start = time.perf_counter()
        store = ProposalStore.open(path)
        opening = time.perf_counter() - start
        size = sum(file.path.stat().st_size for file in store.files)
        boxes = sum(len(store[name]) for name in list(store)[:1000]) / min(len(store), 1000)
        print(f'{len(store)} images of {boxes:.1f} boxes, opened in {1e3 * opening:.0f} ms')
        print(f'store        {size / len(store):7.0f} bytes an image')
        names = list(store)
        report('store', store.__getitem__, names, args.reads)
        if args.store is None:
            compare({name: store[name] for name in names[:3000]}, args.reads, Path(folder))


def make(path: Path, images: int, boxes: int) -> Path:
    """A store of boxes that are made up."""
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    with ProposalStore.write(path, dict(provider='made up')) as writer:
        for number in range(images):
            x, y = (np.sort(rng.integers(0, side + 1, (rng.integers(boxes // 2, 3 * boxes // 2 + 1), 2)))
                    for side in (500, 375))  # fmt: skip
            count = min(len(x), len(y))
            found = np.stack([x[:count, 0], y[:count, 0], x[:count, 1], y[:count, 1]], 1)
            name = f'n{number % 1000:08d}/n{number % 1000:08d}_{number}.JPEG'
            writer[name] = Proposals(found, (375, 500))
    print(f'written in {time.perf_counter() - start:.0f} s, the making up included')
    return path


def compare(store: dict[str, Proposals], reads: int, folder: Path) -> None:
    """Some of the boxes as a COCO json, as a json of lists, and as a pickle an image."""
    write_coco(store, folder / 'coco.json')
    print(f'COCO json    {(folder / "coco.json").stat().st_size / len(store):7.0f} bytes an image')
    report('CocoBoxes', CocoBoxes(folder / 'coco.json').__getitem__, list(store), reads)
    lists = {name: store[name].boxes.astype(int).tolist() for name in store}
    text = json.dumps(lists)
    print(f'json lists   {len(text) / len(store):7.0f} bytes an image')
    one = folder / 'one.pkl'
    one.write_bytes(pickle.dumps(next(iter(store.values()))))
    print(f'pickle       {os.stat(one).st_blocks * 512:7.0f} bytes an image on disk, a file each')


def report(what: str, read: Callable, names: list[str], count: int) -> None:
    """Time random reads."""
    order = np.random.default_rng(1).integers(0, len(names), count)
    before = private_bytes()
    start = time.process_time()
    for position in order:
        read(names[position])
    seconds = time.process_time() - start
    grown = (private_bytes() - before) / 2**20
    print(f'{what:12} {count / seconds:7.0f} random reads a second, {grown:.1f} MiB of memory for it')


def private_bytes() -> int:
    """Bytes of this process that no other shares, files in memory left out."""
    text = Path('/proc/self/status').read_text()
    return 1024 * int(re.search(r'RssAnon:\s+(\d+)', text)[1])


if __name__ == '__main__':
    main()
