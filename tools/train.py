#!/usr/bin/env python
"""Train what a config says: pretraining, detection or segmentation."""

import argparse
import contextlib
import functools
import sys

from mmengine.config import Config

import densecl.registry  # noqa: F401  (makes the scope "densecl" known to every config)
from densecl.engine import launch
from densecl.engine.one_line import in_one_line, process_number
from densecl.engine.trial import try_out


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    launch.add_common_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from the newest checkpoint of the work directory, or from this one',
    )
    parser.add_argument('--amp', nargs='?', const='bf16', choices=['bf16', 'fp16'], help='mixed precision')
    parser.add_argument(
        '--checkpoint-activations', action='store_true', help='less memory: blocks are computed again'
    )
    parser.add_argument('--compile', action='store_true', help='run the backbones through torch.compile')
    parser.add_argument('--shard', action='store_true', help='spread the model over the processes (FSDP2)')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size'
    )
    parser.add_argument(
        '--pretrained', help='weights to start from: a file, a folder, imagenet, timm:NAME, torchvision:NAME'
    )
    parser.add_argument(
        '--check', action='store_true', help='build everything, read data, try a step, say what is wrong'
    )
    return parser.parse_args()


def main() -> None:
    """Build the runner and train, or only check."""
    args = parse_args()
    with in_one_line('train.py', args.debug) as progress:
        cfg = read(args)
        if args.check:
            sys.exit(0 if try_out(cfg) else 1)
        launch.save_on_signal(cfg)
        launch.train(cfg, progress)
    launch.leave_group()


def read(args: argparse.Namespace) -> Config:
    """The config as the command line changes it."""
    show = functools.partial(print, flush=True) if process_number() == 0 else str
    with contextlib.nullcontext() if args.safe_config else launch.telling_files(show):
        cfg = launch.load_config(
            args.config, args.work_dir, args.cfg_options, args.launcher, safe=args.safe_config
        )
    if args.amp:
        launch.use_amp(cfg, args.amp)
    if args.checkpoint_activations:
        launch.use_checkpoint_activations(cfg)
    if args.compile:
        launch.use_compile(cfg)
    if args.shard:
        launch.use_shard(cfg)
    if args.auto_scale_lr:
        launch.use_auto_scale_lr(cfg)
    if args.pretrained:
        launch.use_pretrained(cfg, args.pretrained)
    launch.use_resume(cfg, args.resume)
    return cfg


if __name__ == '__main__':
    main()
