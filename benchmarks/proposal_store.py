"""Bytes an image and random reads a second of a proposal store, beside other ways to keep boxes.

    python benchmarks/proposal_store.py --images 20000 --boxes 50
    python benchmarks/proposal_store.py --store data/proposals
    python benchmarks/proposal_store.py --against ../another/checkout   # in turns with this one

Without ``--store`` the boxes are made up: whole pixels in photos of 375 x 500, names as ImageNet has them.
Every read is of another image at random; of each round of reads the time counts that the process had.
Memory is what one process holds of its own after the reads (private pages), the shared file not counted.
"""

import argparse
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from densecl.proposals import CocoBoxes, ProposalStore, write_coco
from densecl.proposals.store import SUFFIX
from densecl.structures import Proposals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--images', type=int, default=20_000)
    parser.add_argument('--boxes', type=int, default=50, help='mean boxes an image')
    parser.add_argument('--reads', type=int, default=20_000)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--shards', type=int, default=1, help='files of the store that is made')
    parser.add_argument('--store', help='an existing store instead')
    parser.add_argument('--against', help='another checkout of densecl: the same with both, in turns')
    args = parser.parse_args()
    if args.against:
        compare_checkouts(args)
    else:
        measure(args)


def measure(args: argparse.Namespace) -> None:
    """The store of this process's densecl."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(args.store or make(Path(folder) / 'store', args.images, args.boxes, args.shards))
        start = time.perf_counter()
        store = ProposalStore.open(path)
        opening = time.perf_counter() - start
        size = sum(file.path.stat().st_size for file in store.files)
        names = list(store)
        boxes = sum(len(store[name]) for name in names[:1000]) / min(len(names), 1000)
        print(f'{len(store)} images of {boxes:.1f} boxes, opened in {1e3 * opening:.0f} ms')
        print(f'store        {size / len(store):7.0f} bytes an image')
        report('store', store.__getitem__, names, args.reads, args.rounds)
        if args.store is None:
            compare({name: store[name] for name in names[:3000]}, args, Path(folder))


def compare_checkouts(args: argparse.Namespace) -> None:
    """Run this file with the densecl of another checkout and with this one's, one after the other."""
    options = [f'--{name}={getattr(args, name)}' for name in ('images', 'boxes', 'reads', 'rounds', 'shards')]
    for root in (args.against, Path(__file__).parents[1]) * 2:
        print(f'\n{root}', flush=True)
        subprocess.run(
            [sys.executable, __file__, *options], env=os.environ | {'PYTHONPATH': str(root)}, check=True
        )


def make(folder: Path, images: int, boxes: int, shards: int) -> Path:
    """A store of boxes that are made up."""
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for shard in range(shards):
        with ProposalStore.write(folder / f'{shard}{SUFFIX}', dict(provider='made up')) as writer:
            for number in range(shard, images, shards):
                count = rng.integers(boxes // 2, 3 * boxes // 2 + 1)
                x, y = (np.sort(rng.integers(0, side + 1, (count, 2))) for side in (500, 375))
                name = f'n{number % 1000:08d}/n{number % 1000:08d}_{number}.JPEG'
                writer[name] = Proposals(np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1), (375, 500))
    print(f'written in {time.perf_counter() - start:.0f} s, the making up included')
    return folder


def compare(store: dict[str, Proposals], args: argparse.Namespace, folder: Path) -> None:
    """Some of the boxes as a COCO json, as a json of lists, and as a pickle an image."""
    write_coco(store, folder / 'coco.json')
    print(f'COCO json    {(folder / "coco.json").stat().st_size / len(store):7.0f} bytes an image')
    report('CocoBoxes', CocoBoxes(folder / 'coco.json').__getitem__, list(store), args.reads, args.rounds)
    lists = {name: store[name].boxes.astype(int).tolist() for name in store}
    text = json.dumps(lists)
    print(f'json lists   {len(text) / len(store):7.0f} bytes an image')
    one = folder / 'one.pkl'
    one.write_bytes(pickle.dumps(next(iter(store.values()))))
    print(f'pickle       {os.stat(one).st_blocks * 512:7.0f} bytes an image on disk, a file each')


def report(what: str, read: Callable, names: list[str], count: int, rounds: int) -> None:
    """Time random reads."""
    order = [names[i] for i in np.random.default_rng(1).integers(0, len(names), count)]
    before, rates = private_bytes(), []
    for _ in range(rounds):
        start = time.process_time()
        for name in order:
            read(name)
        rates.append(count / (time.process_time() - start))
    grown = (private_bytes() - before) / 2**20
    span = f'({min(rates):.0f} .. {max(rates):.0f})'
    print(f'{what:12} {np.median(rates):7.0f} random reads a second {span}, {grown:.1f} MiB of memory for it')


def private_bytes() -> int:
    """Bytes of this process that no other shares, files in memory left out."""
    text = Path('/proc/self/status').read_text()
    return 1024 * int(re.search(r'RssAnon:\s+(\d+)', text)[1])


if __name__ == '__main__':
    main()
