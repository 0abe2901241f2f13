"""Write one HTML page of a run, or of several side by side: settings, curves, pictures, what to do next."""

import argparse

from .arguments import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument(
        'runs', nargs='+', help='folders of pretrain, finetune, pilot, probes or tools/train.py'
    )
    parser.add_argument('--out', help='file to write (default: report.html in the first folder)')
    parser.add_argument('--csv', metavar='FILE', help='also write all scalars of the logs')
    parser.add_argument('--markdown', metavar='FILE', help='also write the table of figures, seeds averaged')
    parser.add_argument('--live', action='store_true', help='write the page again until the runs have ended')
    parser.add_argument(
        '--every', type=positive, default=30, help='seconds between two pages of --live (%(default)s)'
    )


def run(args: argparse.Namespace) -> int:
    """Write and say where."""
    from densecl.runs.page import follow, write_csv, write_markdown, write_page

    print(write_page(args.runs, args.out))
    if args.live:
        follow(args.runs, args.out, args.every)
    if args.csv:
        print(write_csv(args.runs, args.csv))
    if args.markdown:
        print(write_markdown(args.runs, args.markdown))
    return 0
