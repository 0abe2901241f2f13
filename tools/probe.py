#!/usr/bin/env python
"""Dense quality of a frozen backbone on images with label maps: linear and retrieval segmentation.

python tools/probe.py work_dirs/.../epoch_8.pth --labelled data/camvid
python tools/probe.py imagenet --labelled instances_train.json --test instances_val.json
python tools/probe.py random --config CONFIG --labelled data/camvid
"""

import argparse
import json
from pathlib import Path

import torch

import densecl.compat

densecl.compat.install()

from mmengine.config import DictAction  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

import densecl.registry  # noqa: E402, F401
from densecl.engine.launch import read_config  # noqa: E402
from densecl.evaluation.features import FrozenEncoder, open_encoder, random_encoder  # noqa: E402
from densecl.evaluation.labelled import open_labelled  # noqa: E402
from densecl.evaluation.probes import RETRIEVAL, draw_probe, probe  # noqa: E402
from densecl.files import atomic_write  # noqa: E402


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'checkpoint', help='of a pretraining, an export, weights of another project, their name, or "random"'
    )
    parser.add_argument('--labelled', required=True, help='folder with images/ and labels/, or a COCO json')
    parser.add_argument('--test', help='another such path to score on; --labelled is then all training')
    parser.add_argument('--config', help='whose backbone is built; that of the checkpoint by default')
    parser.add_argument('--branch', choices=('auto', 'online', 'target'), default='auto')
    parser.add_argument(
        '--options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
        help='settings of the backbone where no config says them, as output_stride=16',
    )  # fmt: skip
    parser.add_argument('--size', type=int, nargs=2, metavar=('H', 'W'), help='of the images in pixels')
    parser.add_argument('--level', type=int, default=-1, help='of the backbone')
    parser.add_argument('--k', type=int, default=RETRIEVAL['k'], help='cells that vote in the retrieval')
    parser.add_argument('--temperature', type=float, default=RETRIEVAL['temperature'], help='of the votes')
    parser.add_argument('--cells', type=int, default=RETRIEVAL['cells'], help='of an image in the memory')
    parser.add_argument('--seed', type=int, default=0, help='of both probes and of "random"')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--out', help='json file of the figures')
    parser.add_argument('--pictures', help='folder for sixteen pictures: truth, linear, retrieval')
    args = parser.parse_args(argv)
    if args.checkpoint == 'random' and not args.config:
        parser.error('"random" needs --config, whose backbone is built')
    return args


def main(argv: list[str] | None = None) -> None:
    """Open the labelled set, run both probes, print the figures."""
    args = parse_args(argv)
    init_default_scope('densecl')
    labelled = open_labelled(args.labelled, args.test)
    size = tuple(args.size or labelled.use_size())
    frozen = encoder(args).to(args.device)
    retrieval = dict(k=args.k, temperature=args.temperature, cells=args.cells)
    found = probe(frozen, labelled, size, args.level, args.seed, 16 if args.pictures else 0, **retrieval)
    for note in labelled.notes:
        print(f'note: {note}')
    print(
        f'{len(labelled.train)} images to learn from, {len(labelled.test)} to score on, '
        f'{size[0]} x {size[1]} pixels, {len(labelled.classes)} classes, {found.seconds:.0f} s'
    )
    report(found.scores(), labelled.classes, args, len(labelled.train))
    if args.out:
        save(args, size, labelled, found)
    if args.pictures:
        print(f'{len(draw_probe(found, labelled, size, args.pictures))} pictures: {args.pictures}')


def encoder(args: argparse.Namespace) -> FrozenEncoder:
    """The backbone that the command line names."""
    config = read_config(args.config) if args.config else None
    if args.checkpoint == 'random':
        return random_encoder(config, args.seed)
    return open_encoder(args.checkpoint, args.branch, config, **args.options)


def report(scores: dict, classes: tuple[str, ...], args: argparse.Namespace, images: int) -> None:
    """Print mean and classes of both probes."""
    said = f'memory {images} x {args.cells} cells, k {args.k}, temperature {args.temperature}'
    print(f'linear     mIoU {scores["linear"].mean:6.2f}')
    print(f'retrieval  mIoU {scores["retrieval"].mean:6.2f}   ({said})')
    width = max(map(len, classes))
    for i, name in enumerate(classes):
        pair = (scores[kind].per_class[i] for kind in ('linear', 'retrieval'))
        print(f'  {name:<{width}}  linear {next(pair):6.2f}   retrieval {next(pair):6.2f}')
    absent = [classes[i] for i in scores['linear'].absent]
    print(f'absent from the test part and not in the mean: {", ".join(absent) or "none"}')


def save(args: argparse.Namespace, size, labelled, found) -> None:
    """Write the figures and what they are of."""
    kept = ('checkpoint', 'config', 'branch', 'level', 'k', 'temperature', 'cells', 'seed')
    content = {name: getattr(args, name) for name in kept}
    content |= dict(labelled=str(args.labelled), test=args.test, size=size, classes=labelled.classes)
    content |= dict(train_images=len(labelled.train), test_images=len(labelled.test), seconds=found.seconds)
    content |= {name: vars(score) for name, score in found.scores().items()}
    with atomic_write(args.out) as temporary:
        Path(temporary).write_text(json.dumps(content, indent=1))


if __name__ == '__main__':
    main()
