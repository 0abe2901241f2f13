#!/usr/bin/env python
"""Write a set of permutations for jigsaw puzzles, each far from all others, or look at one.

python tools/make_permutations.py permutations.npy --count 1000
python tools/make_permutations.py permutations_100.bin --show

A config reads it with dict(type='JigsawPatches', permutations='permutations.npy').
"""

import argparse

import numpy as np

from densecl.datasets.transforms.permutations import (
    RULES,
    far_permutations,
    hamming,
    read_permutations,
    write_permutations,
)
from densecl.engine.one_line import call


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('file', help='.npy or text; to be shown also .bin of the authors')
    parser.add_argument('--count', type=int, default=1000, help='number of permutations (%(default)s)')
    parser.add_argument('--grid', type=int, default=3, help='cells along a side (%(default)s)')
    parser.add_argument('--rule', choices=RULES, default='min', help='distance to those chosen (%(default)s)')
    parser.add_argument('--seed', type=int, help='start at random; by default at the identity')
    parser.add_argument('--show', action='store_true', help='write nothing, say what the file holds')
    return parser.parse_args()


def main() -> None:
    """Make and write, or read; then say how far they are from each other."""
    args, done = parse_args(), 'holds'
    cells = args.grid**2
    try:
        if args.show:
            found = read_permutations(args.file, cells)
        else:
            found, done = far_permutations(cells, args.count, args.rule, args.seed), 'written:'
            write_permutations(args.file, found)
    except ValueError as error:
        raise SystemExit(error) from error
    print(f'{args.file} {done} {len(found)} permutations of {cells} cells, {apart(found)}')


def apart(permutations: np.ndarray) -> str:
    """How many cells differ between any two of them."""
    if len(permutations) < 2:
        return 'nothing to compare'
    rows = np.stack([hamming(permutations.T, each) for each in permutations])
    distances = rows[np.triu_indices(len(rows), 1)]
    return f'two differ in {distances.mean():.2f} cells in the mean, in {distances.min()} at least'


if __name__ == '__main__':
    call(main)
