#!/usr/bin/env python
"""Compute a step again whose loss or gradient was not finite, and say what was not, and where it began."""

import argparse

import densecl.registry  # noqa: F401  (makes the scope "densecl" known to every config)
from densecl.engine.one_line import call
from densecl.engine.replay import replay, sentences


def main() -> None:
    """Print what is not finite."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('step', help='WORK_DIR/nonfinite/iter_N.json, which the warning in the log names')
    parser.add_argument('--checkpoint', help='with the weights; the newest one before the step')
    parser.add_argument('--rank', type=int, help='process whose images are taken; the first one at fault')
    args = parser.parse_args()
    try:
        report = replay(args.step, args.checkpoint, args.rank)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from error
    print('\n'.join(sentences(report)))


if __name__ == '__main__':
    call(main)
