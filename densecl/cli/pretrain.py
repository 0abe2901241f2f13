"""Pretrain a backbone on your photos, from weights or from nothing.

A run is a folder: config.py, which tools/train.py runs again, settings.json, manifest.json, checkpoints, log.
"""

import argparse
import shlex

from .arguments import add_pretraining, parsed_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add_pretraining(parser)
    parser.add_argument(
        '--labelled',
        help='COCO json, or folder with images/ and labels/, on which the guard measures the features; '
        'photos that are also among those of the pretraining are reported first',
    )
    parser.add_argument(
        '--log-to', nargs='+', default=[], metavar='LOGGER',
        help='send the curves there too: tensorboard, wandb, mlflow, trackio',
    )  # fmt: skip
    parser.add_argument('--resume', action='store_true', help='go on with the run in --out')


def run(args: argparse.Namespace) -> int:
    """Pretrain."""
    from densecl.runs import pretrain

    done = pretrain(
        args.photos,
        start=args.start,
        hours=args.hours,
        out=args.out,
        method=args.method,
        labelled=args.labelled,
        size=args.size,
        resume=args.resume,
        measure=not args.estimate,
        log_to=args.log_to,
        options=parsed_options(args),
    )
    print(done.guard.get('told', 'no guard: there was nothing to compare with'))
    print(f'weights: {done.best}' + (', the weights it began with' if done.kept_start else ''))
    print(f'next: densecl export {shlex.quote(str(done.folder))} --to mmdet')
    return 0
