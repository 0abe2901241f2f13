#!/usr/bin/env python
"""Take the directions of position out of a backbone: ``python tools/fold_positions.py CHECKPOINT``.

The directions are those that a training of RASA found; or, with --fit, they are found here by least squares
on photos, for any checkpoint, and any weights that densecl pretrain --start takes (imagenet, a file).

What it writes is a checkpoint whose backbone ends in a 1x1 convolution, the product of all projections:
``densecl probe`` and ``densecl export --to mmdet`` read it as they read any other. With --photos it says how
well a linear function reads row and column off a cell, before and after, on crops of photos that it was not
fitted to; with --fit the directions were not, either. (A training of RASA has seen the photos of its own.)
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from densecl.datasets import decode_image
from densecl.engine.one_line import call
from densecl.evaluation.features import (
    FrozenEncoder,
    carries_config,
    dense_features,
    load_encoder,
    open_encoder,
)
from densecl.evaluation.positions import (
    position_fit,
    position_rounds,
    without_linear_position,
)
from densecl.files import atomic_write
from densecl.models.necks.positions import folded
from densecl.runs.checks import find_photos
from densecl.runs.starts import Chosen, choose_start
from densecl.transfer import read_weights
from densecl.transfer.positions import with_matrix, without_positions
from densecl.transfer.read import Weights


def _rounds(text: str) -> int | str:
    """A number of planes, or 'all'."""
    if text != 'all' and not (text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f'a number of planes from 1, or "all"; got {text}')
    return text if text == 'all' else int(text)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a pretraining with a PositionPredictor; with --fit any')
    parser.add_argument(
        '--fit',
        metavar='ROUNDS',
        type=_rounds,
        help='find the directions in --photos: so many planes, one after the other; or "all": what any '
        'linear function knows of position',
    )
    parser.add_argument('--level', type=int, default=-1, help='of the backbone, with --fit')
    parser.add_argument('--head', help='its name in model.heads; the first by default')
    parser.add_argument('--out', help='default: beside the checkpoint, <name>_folded.pth')
    parser.add_argument('--photos', help='folder of photos by which position is measured, and found')
    parser.add_argument('--size', type=int, nargs=2, default=(224, 224), metavar=('H', 'W'), help='in pixels')
    parser.add_argument(
        '--count',
        type=int,
        default=200,
        help='of the photos: half to find directions, a quarter each to fit and to judge',
    )
    return parser.parse_args()


def main() -> None:
    """Fold, write, measure."""
    args = parse_args()
    init_default_scope('densecl')
    found, said, level = trained(args) if args.fit is None else fitted(args)
    name = Path(args.checkpoint)
    out = Path(args.out or name.with_name(f'{name.stem}_folded.pth'))
    with atomic_write(out) as temporary:
        torch.save(found, temporary)
    print(f'{out}: {said}')
    if args.photos:
        for title, encoder in (('before', opened(args.checkpoint)), ('after', load_encoder(out))):
            maps = maps_of(encoder, level, args)[1::2]  # not those that directions are found in
            rows, columns = position_fit(maps[::2], maps[1::2])
            print(f'{title:<6} R^2 of a linear prediction: row {rows:.3f}, column {columns:.3f}')


def trained(args: argparse.Namespace) -> tuple[dict, str, int]:
    """The checkpoint without the directions of its rounds."""
    found, rounds, level = without_positions(read_weights(args.checkpoint), args.head)
    return found, f'the directions of {rounds} rounds are taken out', level


def fitted(args: argparse.Namespace) -> tuple[dict, str, int]:
    """Any backbone without the directions that are found here, in the photos that do not judge."""
    if not args.photos:
        raise SystemExit('fold_positions: --fit finds directions in photos: give --photos FOLDER')
    maps = maps_of(opened(args.checkpoint), args.level, args)[::2]
    if args.fit == 'all':
        matrix, said = without_linear_position(maps), 'what linear functions know of position is taken out'
    else:
        matrix, said = folded(position_rounds(maps, args.fit)), f'{args.fit} planes are taken out'
    weights = read_weights(args.checkpoint) if carries_config(args.checkpoint) else start_of(args.checkpoint)
    return with_matrix(weights, matrix, args.level), f'{said}, found in {len(maps)} photos', args.level


def opened(what: str) -> FrozenEncoder:
    """The backbone as it is, of weights of another project as a pretraining from them builds it."""
    return (
        load_encoder(what) if carries_config(what) else open_encoder(what, **options_of(choose_start(what)))
    )


def options_of(chosen: Chosen) -> dict:
    """How the backbone of a start is built."""
    return {name: value for name, value in chosen.layout.backbone.items() if name != 'type'}


def start_of(what: str) -> Weights:
    """Weights of another project as those of a pretraining."""
    chosen = choose_start(what)
    start, backbone = chosen.start, chosen.layout.backbone
    network = start.build(**options_of(chosen))
    tensors = {f'backbone.{name}': tensor for name, tensor in network.state_dict().items()}
    images = dict(mean=list(start.mean), std=list(start.std), bgr_to_rgb=True)
    config = Config(dict(model=dict(backbone=backbone, data_preprocessor=images)))
    return Weights(tensors, dict(cfg=config.pretty_text, start=chosen.record), what)  # with its licence


def maps_of(encoder: FrozenEncoder, level: int, args: argparse.Namespace) -> torch.Tensor:
    """One level's maps of a part of each photo."""
    paths = sorted(find_photos([args.photos]))
    paths = paths[:: max(1, len(paths) // args.count)][: args.count]
    if len(paths) < 8:
        raise SystemExit(f'fold_positions: {args.photos} has {len(paths)} photos; give 8 or more')
    rng = np.random.default_rng(0)
    return dense_features(encoder, (crop(path, args.size, rng)[None] for path in paths), level)


def crop(path: Path, size: tuple[int, int], rng: np.random.Generator) -> torch.Tensor:
    """(H, W, 3) uint8, of a random place, mirrored in half: what stands where in photos says less."""
    import cv2

    image = decode_image(path)
    part = [round(side * rng.uniform(0.5, 1)) for side in image.shape[:2]]
    y, x = (rng.integers(whole - side + 1) for whole, side in zip(image.shape, part, strict=False))
    image = image[y : y + part[0], x : x + part[1]]
    resized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(resized[:, ::-1].copy() if rng.random() < 0.5 else resized)


if __name__ == '__main__':
    call(main)
