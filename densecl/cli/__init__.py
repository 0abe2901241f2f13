"""The command ``densecl``: pretraining, pilot, fine-tuning, probes, pictures, export, report, plan, doctor.

Each command is a file whose docstring is its help, with ``add_arguments(parser)`` and ``run(args)``, which
returns the exit code; it calls the package and prints. What users do wrong ends in one line and exit code 2;
``--debug`` shows where.
"""

import argparse
import importlib
import os
import sys

from densecl.messages import message_of

#: In the order of the help.
COMMANDS = ('pretrain', 'pilot', 'finetune', 'probe', 'show', 'export', 'report', 'plan', 'doctor')


def main(argv: list[str] | None = None) -> None:
    """Run a command and exit."""
    args = make_parser().parse_args(argv)
    sys.exit(call(args))


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; it imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog='densecl', description='Pretrain a backbone on your own photos, and use it.'
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name in COMMANDS:
        module = importlib.import_module(f'{__name__}.{name}')
        about = (module.__doc__ or '').strip()
        one = commands.add_parser(
            name,
            help=about.split('\n')[0],
            description=about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(one)
        one.add_argument('--debug', action='store_true', help='show where an error came from')
        one.set_defaults(run=module.run)
    return parser


def call(args: argparse.Namespace) -> int:
    """Run the chosen command; what a user did wrong is told in one line."""
    again = '; the same command goes on' if args.command == 'pilot' else ''
    try:
        return args.run(args) or 0
    except KeyboardInterrupt:
        print(f'densecl {args.command}: interrupted{again}', file=sys.stderr)
        return 130
    except SystemExit as stop:  # of a training: a signal came, and its state is saved
        if again and isinstance(stop.code, int):
            print(f'densecl {args.command}: stopped{again}', file=sys.stderr)
        raise
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        if args.debug or os.environ.get('DENSECL_DEBUG'):
            raise
        more = ' (--debug shows all of it)' if len(str(error).splitlines()) > 2 else ''
        print(f'densecl {args.command}: {message_of(error)}{more}', file=sys.stderr)
        return 2
