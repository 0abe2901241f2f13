#!/usr/bin/env python
"""Fine-tune a stock mmdet or mmseg model from a run or weights: write its config, train, test, draw."""

import argparse

import densecl.compat

densecl.compat.install()

from densecl.finetune import SIZES, TASKS, finetune, write_config  # noqa: E402


def main() -> None:
    """Write the config and run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('start', help='folder of a run, a checkpoint, any file of weights, or "imagenet"')
    parser.add_argument('--data', required=True, help='COCO json, or a folder with images/ and labels/ (PNG)')
    parser.add_argument('--out', required=True, help='folder for config, checkpoints, metrics.json, pictures')
    parser.add_argument('--val', help='json or folder for validation (default: a part of --data)')
    parser.add_argument('--images', help='folder of the images, where they are not beside the json')
    parser.add_argument('--task', choices=TASKS, help='default: what the labels carry')
    parser.add_argument('--size', choices=SIZES, help='default: full where there is a GPU')
    parser.add_argument('--iters', type=int, help='length of the training')
    parser.add_argument('--minutes', type=float, help='the same by time; a few steps are timed')
    parser.add_argument('--batch', type=int, help='images a step')
    parser.add_argument('--lr', type=float, help="AdamW's rate for the new layers")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--write-only', action='store_true', help='write the config and stop')
    options = vars(parser.parse_args())
    write_only = options.pop('write_only')
    config = write_config(**options)
    if write_only:
        return
    for name, value in finetune(config).items():
        print(f'{name:15s} {value:5.1f}')
    print(f'pictures: {config.parent / "pictures"}')


if __name__ == '__main__':
    main()
