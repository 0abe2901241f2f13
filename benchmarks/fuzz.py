#!/usr/bin/env python
"""Hostile input for everything that reads files: decoders, json files, tars, stores, checkpoints; or configs.

    python benchmarks/fuzz.py                     # every kind once
    python benchmarks/fuzz.py --rounds 100 --seed 1
    python benchmarks/fuzz.py --configs --rounds 20   # one option of a config is wrong
    python benchmarks/fuzz.py --number 4711       # this one again, here, with a traceback of what happens

Valid files are changed (cut, bits flipped, blocks moved, header fields and json values replaced) and read. A
fault is a process that dies or hangs, memory beyond a bound, an error of several lines or one that does not
name the file, and a wrong result: what the reader's check refuses, or a change that framing or checksum
have to show and nobody notices. Configs are tried as ``tools/train.py --check`` does: an error has to name
the place in the config, and a misspelt key must not pass in silence. The input of an execution is a function
of seed and number. The exit code is 1 where there are faults.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.fuzzing.supervise import supervise  # noqa: E402


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--rounds', type=int, default=1, help='executions of every kind')
    parser.add_argument('--seconds', type=float, help='stop after so long')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--readers', nargs='+', help='only these')
    parser.add_argument('--configs', action='store_true', help='configs in place of files')
    parser.add_argument('--number', type=int, help='execute this one here')
    parser.add_argument('--child', nargs=2, type=int, metavar=('FROM', 'COUNTER'), help=argparse.SUPPRESS)
    return parser.parse_args()


def all_kinds(args: argparse.Namespace, folder: Path) -> list:
    """The kinds that were asked for."""
    from benchmarks.fuzzing.readers import config_reader, readers
    from benchmarks.fuzzing.trial import kinds_of

    found = [config_reader(folder)] if args.configs else readers(folder)
    return kinds_of([r for r in found if not args.readers or r.name in args.readers])


def child(args: argparse.Namespace, kinds: list, folder: Path) -> None:
    """Execute from a number on, and print faults as json; the parent knows where a dead child was."""
    from benchmarks.fuzzing.trial import run

    start, counter = args.child
    shared = np.memmap(os.fdopen(counter, 'r+b'), np.int64, 'r+', shape=1)
    stop = args.rounds * len(kinds)

    def report(fault: dict) -> None:
        print(json.dumps(fault), flush=True)

    print(json.dumps(dict(stop=stop, kinds=len(kinds))), flush=True)
    run(kinds, range(start, stop), args.seed, folder, shared, report)


def main() -> int:
    """Start children until all is executed; report."""
    args = parse_args()
    if args.child or args.number is not None:
        warnings.simplefilter('ignore')
        with tempfile.TemporaryDirectory() as folder:
            os.environ['DENSECL_CACHE'] = folder
            kinds = all_kinds(args, Path(folder))
            if args.child:
                child(args, kinds, Path(folder))
            else:
                again(args, kinds, Path(folder))
        return 0
    began = time.monotonic()

    def command(start: int, counter: int) -> list[str]:
        own = [sys.executable, __file__, '--rounds', str(args.rounds), '--seed', str(args.seed)]
        own += ['--readers', *args.readers] if args.readers else []
        own += ['--configs'] if args.configs else []
        return [*own, '--child', str(start), str(counter)]

    found = supervise(command, args.seconds)
    for fault in found.faults:
        print(json.dumps(fault))
    kinds, seconds = min(found.executions, found.kinds), time.monotonic() - began
    print(f'{found.executions} executions of {kinds} kinds in {seconds:.0f} s, seed {args.seed}')
    if found.faults:
        same = Counter(f'{f["kind"].split(" / ")[0]}: {f["what"][:60]}' for f in found.faults)
        print(f'{len(found.faults)} faults', *same.most_common(), sep='\n')
    return int(bool(found.faults))


def again(args: argparse.Namespace, kinds: list, folder: Path) -> None:
    """Execute one number in this process."""
    from benchmarks.fuzzing.trial import execute, hostile

    kind = kinds[args.number % len(kinds)]
    data = hostile(kind, args.seed, args.number)
    path = folder / kind.reader.name / kind.reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(kind.reader.seeds[kind.seed])
    valid = kind.reader.read(path)
    print(f'{kind}: {len(data)} bytes, {data[:80]!r}')
    print(execute(kind, data, folder, valid) or 'no fault')
    path.write_bytes(data)
    kind.reader.read(path)


if __name__ == '__main__':
    sys.exit(main())
