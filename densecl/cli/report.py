"""Write one HTML page of a run: guard, losses, settings with reasons, pictures, config."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('run_folder', help='folder of a run')
    parser.add_argument('--out', help='file to write (default: report.html in the folder)')


def run(args: argparse.Namespace) -> int:
    """Write and say where."""
    from densecl.runs.page import write_page
    from densecl.runs.run import Run

    print(write_page(Run(args.run_folder), Path(args.out) if args.out else None))
    return 0
