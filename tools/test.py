#!/usr/bin/env python
"""Evaluate a fine-tuned detector or segmentor, and draw what it finds."""

import argparse
import json
from pathlib import Path

from mmengine.dist import is_main_process

import densecl.registry  # noqa: F401  (makes the scope "densecl" known to every config)
from densecl.engine import launch
from densecl.engine.one_line import call


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    launch.add_common_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint of the whole model')
    parser.add_argument('--out', type=Path, help='write the metrics into this json file')
    parser.add_argument('--show-dir', help='draw predictions beside the ground truth into this folder')
    parser.add_argument('--show-max', type=int, default=16, help='number of pictures')
    return parser.parse_args()


def main() -> None:
    """Build the runner and test."""
    args = parse_args()
    if not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'{args.checkpoint}: no such checkpoint')
    cfg = launch.load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    cfg.load_from = args.checkpoint
    if args.show_dir:
        hook = dict(type='densecl.PredictionHook', out_dir=args.show_dir, count=args.show_max)
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), hook]
    metrics = launch.build_runner(cfg).test()
    if args.out and is_main_process():
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({k: float(v) for k, v in metrics.items()}, indent=1))


if __name__ == '__main__':
    call(main)
