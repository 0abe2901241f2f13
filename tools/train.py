#!/usr/bin/env python
"""Train what a config says: pretraining, detection or segmentation."""

import argparse

import densecl.compat

densecl.compat.install()

import densecl.registry  # noqa: E402, F401  (makes the scope "densecl" known to every config)
from densecl.engine import launch  # noqa: E402


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
    return parser.parse_args()


def main() -> None:
    """Build the runner and train."""
    args = parse_args()
    cfg = launch.load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
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
    launch.save_on_signal(cfg)
    launch.build_runner(cfg).train()
    launch.leave_group()


if __name__ == '__main__':
    main()
