"""Will pretraining help me? Random weights, the start and the start continued, on the labels you have.

Frozen probes and short fine-tunings, repeated over seeds, within the hours; ends with go or stop. A call with
the same --out goes on where the last one was interrupted.
"""

import argparse
from pathlib import Path

from .arguments import add_pretraining, parsed_options, positive_int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add_pretraining(parser)
    parser.set_defaults(out='runs/pilot')
    parser.add_argument('--labelled', required=True, help='COCO json, or a folder with images/ and labels/')
    parser.add_argument('--test', help='another such path to score on; --labelled is then all training')
    parser.add_argument(
        '--seeds', type=positive_int, default=3, help='repetitions of each measurement (%(default)s)'
    )
    parser.add_argument('--no-finetune', action='store_true', help='frozen probes only')


def run(args: argparse.Namespace) -> int:
    """Compare."""
    from densecl.engine.checks import claimed
    from densecl.runs.pilot import pilot

    Path(args.out).mkdir(parents=True, exist_ok=True)
    with claimed(args.out):
        pilot(
            args.photos,
            args.labelled,
            hours=args.hours or 1.0,
            out=args.out,
            start=args.start,
            method=args.method,
            test=args.test,
            seeds=args.seeds,
            finetune=not args.no_finetune,
            size=args.size,
            measure=not args.estimate,
            options=parsed_options(args),
        )
    return 0
