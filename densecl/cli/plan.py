"""Say what pretrain would do: settings with reasons, time, disk and memory; nothing is written."""

import argparse

from .arguments import add_pretraining, parsed_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add_pretraining(parser)
    parser.add_argument('--config', action='store_true', help='print the config too')


def run(args: argparse.Namespace) -> int:
    """Decide and print."""
    import densecl.compat

    densecl.compat.install()
    from densecl.runs import make_plan

    plan = make_plan(
        args.photos,
        args.out,
        args.start,
        args.hours,
        args.method,
        size=args.size,
        measure=not args.estimate,
        options=parsed_options(args),
    )
    print(plan)
    if args.config:
        print(plan.text)
    return 0
